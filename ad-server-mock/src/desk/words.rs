//! The desk's words in English and Spanish, and which of them a visitor reads.
//!
//! A text is named by its English; a test sees to it that every name has its Spanish. Numbers and dates are written the
//! same in both, so that reports can be compared.

/// A language of the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Language {
    #[default]
    English,
    Spanish,
}

impl Language {
    /// Its code.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Spanish => "es",
        }
    }

    /// The language of a code.
    pub(crate) fn parse(code: &str) -> Option<Self> {
        match code.trim().get(..2)?.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "es" => Some(Self::Spanish),
            _ => None,
        }
    }

    /// The first of a visitor's languages that the desk has.
    pub(crate) fn accepted(header: &str) -> Option<Self> {
        header.split(',').find_map(Self::parse)
    }

    /// A text in this language.
    pub(crate) fn say(self, english: &'static str) -> &'static str {
        match self {
            Self::English => english,
            Self::Spanish => SPANISH
                .iter()
                .find(|(e, _)| *e == english)
                .map_or(english, |(_, s)| s),
        }
    }
}

/// Every text, by its English.
const SPANISH: &[(&str, &str)] = &[
    ("Add a campaign", "Añadir una campaña"),
    ("Add a flight", "Añadir una línea"),
    ("Add", "Añadir"),
    ("Advertiser", "Anunciante"),
    ("Advertisers", "Anunciantes"),
    ("Archive", "Archivar"),
    ("Archived", "Archivada"),
    ("Audio or video", "Audio o vídeo"),
    ("Back to the campaign", "Volver a la campaña"),
    ("Billed", "Facturadas"),
    ("Budget", "Presupuesto"),
    ("By creative", "Por creatividad"),
    ("By day", "Por día"),
    ("By show", "Por programa"),
    ("Campaign", "Campaña"),
    ("Campaigns", "Campañas"),
    ("Categories that never play", "Categorías que nunca suenan"),
    ("Category", "Categoría"),
    ("Change the campaign", "Cambiar la campaña"),
    ("Change", "Cambiar"),
    ("Competitors apart in", "Competidores separados en"),
    ("Completed", "Completados"),
    ("Countries", "Países"),
    ("Creative", "Creatividad"),
    ("Creatives", "Creatividades"),
    ("Currency", "Moneda"),
    ("Day", "Día"),
    (
        "Days start at midnight UTC.",
        "Los días empiezan a medianoche UTC.",
    ),
    ("Decisions", "Decisiones"),
    (
        "Delivered is the whole ad in a file that arrived, as the client reports it; played is the player's own report.",
        "Entregado es el anuncio completo en un archivo que llegó, según informa el cliente; reproducido es lo que informa el reproductor.",
    ),
    ("Delivered", "Entregados"),
    ("Devices", "Dispositivos"),
    ("Domain", "Dominio"),
    ("Duration", "Duración"),
    ("Ends", "Fin"),
    ("Episodes", "Episodios"),
    ("Errors by code", "Errores por código"),
    ("Errors", "Errores"),
    ("File", "Archivo"),
    ("Fill", "Cobertura"),
    ("First quartile", "Primer cuartil"),
    ("Flight", "Línea"),
    ("Flights", "Líneas"),
    ("For one listener at most", "Para un oyente, como mucho"),
    ("From", "Desde"),
    ("Goal", "Objetivo"),
    ("Impressions by day", "Impresiones por día"),
    ("In the swarm", "En el enjambre"),
    ("Invalid traffic", "Tráfico no válido"),
    ("Kind", "Tipo"),
    ("Link", "Enlace"),
    ("Log in", "Entrar"),
    ("Log out", "Salir"),
    ("Loudness", "Sonoridad"),
    ("May be skipped after seconds", "Se puede saltar tras segundos"),
    ("Midpoint", "Mitad"),
    ("Name", "Nombre"),
    ("Never more than", "Nunca más de"),
    ("No campaigns yet.", "Todavía no hay campañas."),
    (
        "No impressions in these days.",
        "No hay impresiones en estos días.",
    ),
    ("Nothing in these days.", "Nada en estos días."),
    (
        "Only here (lists with commas; nothing is everywhere)",
        "Solo aquí (listas con comas; vacío es en todas partes)",
    ),
    ("Overview", "Resumen"),
    ("Pacing", "Ritmo"),
    ("Pause", "Pausar"),
    ("Paused", "En pausa"),
    ("Payout", "Pago"),
    ("Played with proof", "Reproducidos con prueba"),
    ("Played", "Reproducidos"),
    ("Positions", "Posiciones"),
    ("Price per thousand", "Precio por mil"),
    ("Priority", "Prioridad"),
    ("Publisher", "Editor"),
    ("Publishers", "Editores"),
    ("Reason", "Motivo"),
    ("Report", "Informe"),
    ("Reports", "Informes"),
    ("Requests", "Peticiones"),
    ("Restore", "Restaurar"),
    ("Resume", "Reanudar"),
    ("Running", "Activa"),
    ("Save as CSV", "Guardar como CSV"),
    ("Save", "Guardar"),
    ("Served", "Servidas"),
    ("Settings", "Ajustes"),
    ("Share, %", "Parte, %"),
    ("Show the report", "Ver el informe"),
    ("Show", "Programa"),
    ("Shows", "Programas"),
    ("Spend", "Gasto"),
    ("Spent and reserved", "Gastado y reservado"),
    ("Starts", "Inicio"),
    ("State", "Estado"),
    ("That token is not known.", "Ese token no se conoce."),
    (
        "There is nothing here that you may change.",
        "Aquí no hay nada que usted pueda cambiar.",
    ),
    ("Third quartile", "Tercer cuartil"),
    ("Times", "Veces"),
    ("Title", "Título"),
    ("To", "Hasta"),
    ("Token", "Token"),
    ("True peak", "Pico real"),
    ("Upload a creative", "Subir una creatividad"),
    ("Upload", "Subir"),
    ("Weight", "Peso"),
    (
        "What is archived is not decided any more. Its reports stay, and it can be restored.",
        "Lo archivado ya no se decide. Sus informes quedan, y se puede restaurar.",
    ),
    (
        "What is played is decided by priority, pace and turn.",
        "Lo que suena se decide por prioridad, ritmo y turno.",
    ),
    (
        "What may play in the breaks of a show. Where its breaks are is in each episode's cue sheet.",
        "Lo que puede sonar en las pausas de un programa. Dónde están sus pausas lo dice la hoja de cada episodio.",
    ),
    ("Within hours", "En horas"),
    (
        "Your token opens the desk. It is never shown again.",
        "Su token abre el escritorio. No se muestra de nuevo.",
    ),
    ("a break", "una pausa"),
    ("a whole download", "una descarga entera"),
    ("another server's tag", "etiqueta de otro servidor"),
    ("daily", "diario"),
    ("even", "uniforme"),
    ("fast", "rápido"),
    ("no show", "sin programa"),
    ("of the goal", "del objetivo"),
    ("sponsorship", "patrocinio"),
    ("spot", "anuncio"),
    ("without limit", "sin límite"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_the_desk_is_in_both_languages() {
        let sources = [
            include_str!("edit.rs"),
            include_str!("forms.rs"),
            include_str!("mod.rs"),
            include_str!("pages.rs"),
            include_str!("chart.rs"),
        ];
        let mut n = 0;
        for source in sources {
            for part in source.split("say(\"").skip(1) {
                let text = part.split('"').next().unwrap();
                n += 1;
                assert!(SPANISH.iter().any(|(e, _)| *e == text), "{text:?} has no Spanish");
            }
        }
        assert!(n > 40, "{n} texts were found");
    }

    #[test]
    fn the_first_language_that_the_desk_has() {
        assert_eq!(
            Language::accepted("fr-FR,es-MX;q=0.8,en"),
            Some(Language::Spanish)
        );
        assert_eq!(Language::accepted("fr"), None);
        assert_eq!(Language::parse("EN-us"), Some(Language::English));
        assert_eq!(Language::parse("é"), None);
    }
}
