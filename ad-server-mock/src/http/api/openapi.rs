//! The OpenAPI 3.1 document of the API, out of its table of routes.

use axum::Json;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::super::access::Caller;
use super::{ROUTES, Route};

pub(super) async fn document(_: Caller) -> impl IntoResponse {
    Json(openapi())
}

/// The document.
pub(super) fn openapi() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths
            .entry(route.path)
            .or_insert_with(|| Value::Object(Map::new()));
        path[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Grove Ads",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Campaigns, publishers, creatives and reports. Open without a token, and not listed here: \
                            /vast, /vmap, /decision, /b/…, /proof/… and /creatives/….",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    })
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
    });
    let in_query = route.query.iter().map(|(name, about)| {
        json!({"name": name, "in": "query", "description": about, "schema": {"type": "string"}})
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let done = match route.method {
        "get" => "200",
        "post" => "201",
        _ => "204",
    };
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            done: {"description": "Done."},
            "400": {"description": "Bad input; one sentence says what."},
            "401": {"description": "No token, or one that is not valid."},
            "403": {"description": "The token's role does not allow it."},
        },
    });
    if route.path.contains('{') {
        operation["responses"]["404"] = json!({"description": "There is no such thing."});
    }
    if let Some(schema) = route.body {
        let kind = if schema == "Upload" {
            "multipart/form-data"
        } else {
            "application/json"
        };
        operation["requestBody"] = json!({
            "required": true,
            "content": {kind: {"schema": {"$ref": format!("#/components/schemas/{schema}")}}},
        });
    }
    operation
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn schemas() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "number"});
    let whole = json!({"type": "integer"});
    let list = json!({"type": "array", "items": {"type": "string"}});
    let instant = json!({
        "type": ["integer", "string", "null"],
        "description": "milliseconds since 1970-01-01 UTC, or a day such as 2026-01-31 (UTC; the last one is included)",
    });
    json!({
        "Publisher": object(&["name", "share"], &json!({"name": text, "share": number})),
        "Show": object(&["publisher", "title"], &json!({
            "publisher": text, "title": text, "share": number, "blocked": list,
            "separation": {"enum": ["pod", "download"]},
        })),
        "Advertiser": object(&["name"], &json!({
            "name": text, "domain": text, "category": text, "category_authority": text,
        })),
        "Campaign": object(&["advertiser", "name"], &json!({
            "advertiser": text, "name": text, "budget": number, "currency": text,
        })),
        "Flight": object(&["campaign", "name", "price_per_thousand"], &json!({
            "campaign": text, "name": text, "paused": {"type": "boolean"}, "starts": instant, "ends": instant,
            "goal": whole, "cap": whole, "price_per_thousand": number, "priority": whole,
            "pacing": {"enum": ["even", "daily", "fast"]}, "kind": {"enum": ["spot", "sponsorship"]},
            "frequency": object(&["count", "hours"], &json!({"count": whole, "hours": number})),
            "targeting": object(&[], &json!({
                "shows": list, "episodes": list, "positions": list, "countries": list, "devices": list,
                "types": list,
            })),
        })),
        "CreativeChange": object(&[], &json!({
            "title": text, "weight": whole, "click_through": text,
            "skip_after": {"type": ["number", "null"]},
        })),
        "Tag": object(&["tag", "duration"], &json!({
            "tag": text, "duration": number, "title": text, "weight": whole, "media_type": text,
        })),
        "Upload": object(&["file"], &json!({
            "file": {"type": "string", "format": "binary"}, "id": text, "title": text, "weight": whole,
            "click_through": text, "skip_after": whole, "width": whole, "height": whole, "ad_registry": text,
            "ad_id": text,
        })),
        "NewToken": object(&["name", "role"], &json!({
            "name": text, "role": {"enum": ["admin", "advertiser", "publisher", "reader"]}, "scope": text,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::super::body::{
        AdvertiserBody, CampaignBody, CreativeChange, FlightBody, PublisherBody, ShowBody, TagBody,
    };
    use super::*;

    #[test]
    fn every_route_and_every_schema_that_it_names_is_there() {
        let document = openapi();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method];
            assert_eq!(operation["summary"], route.summary, "{}", route.path);
            if let Some(schema) = route.body {
                assert!(
                    document["components"]["schemas"][schema]["properties"].is_object(),
                    "{schema}"
                );
            }
        }
    }

    /// Serde says which fields a body has when it meets one that it does not know.
    fn fields<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let error = serde_json::from_str::<T>("{\"no such field\": 1}")
            .err()
            .expect("unknown")
            .to_string();
        let listed = error.split("expected").nth(1).expect("a list");
        listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn schemas_have_the_fields_that_are_taken() {
        let all = schemas();
        let mut checked = Vec::new();
        for (name, mut taken) in [
            ("Publisher", fields::<PublisherBody>()),
            ("Show", fields::<ShowBody>()),
            ("Advertiser", fields::<AdvertiserBody>()),
            ("Campaign", fields::<CampaignBody>()),
            ("Flight", fields::<FlightBody>()),
            ("CreativeChange", fields::<CreativeChange>()),
            ("Tag", fields::<TagBody>()),
        ] {
            let mut said: Vec<String> = all[name]["properties"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            taken.sort();
            said.sort();
            assert_eq!(said, taken, "{name}");
            checked.push(name);
        }
        assert_eq!(checked.len(), 7);
    }
}
