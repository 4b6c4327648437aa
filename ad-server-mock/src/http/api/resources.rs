//! The hierarchy over the API: each resource is read from the snapshot that decisions are made from, and put whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Multipart, Path, Query, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::access::Caller;
use super::super::{App, Refusal, ask, bad};
use super::body::{
    AdvertiserBody, Body, CampaignBody, Change, CreativeChange, FlightBody, PublisherBody, ShowBody, TagBody,
    id, optional, text, url,
};
use crate::catalog::{Catalog, Creative};
use crate::decide::{Question, Snapshot};
use crate::store::Shelf;
use crate::store::tokens::Role;
use crate::upload::{self, Upload};

fn missing(what: &str) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, format!("no such {what}"))
}

/// The advertiser that a flight is of.
pub(crate) fn owner_of_flight(snapshot: &Snapshot, flight: &str) -> Result<String, Refusal> {
    let flight = snapshot.flight(flight).ok_or_else(|| missing("flight"))?;
    let campaign = &snapshot.campaigns[snapshot.flights[flight.0].campaign.0];
    Ok(campaign.campaign.advertiser_id.clone())
}

/// The campaign that a flight is of.
fn campaign_of_flight<'a>(snapshot: &'a Snapshot, flight: &str) -> Result<&'a str, Refusal> {
    let flight = snapshot.flight(flight).ok_or_else(|| missing("flight"))?;
    Ok(&snapshot.flights[flight.0].flight.campaign_id)
}

/// The advertiser that a campaign is of.
pub(crate) fn owner_of_campaign(snapshot: &Snapshot, campaign: &str) -> Result<String, Refusal> {
    let campaign = snapshot.campaign(campaign).ok_or_else(|| missing("campaign"))?;
    Ok(snapshot.campaigns[campaign.0].campaign.advertiser_id.clone())
}

pub(super) async fn publishers(State(app): State<Arc<App>>, caller: Caller) -> Json<Value> {
    let snapshot = app.ads.snapshot();
    let seen = snapshot.publishers().filter(|p| caller.sees_publisher(&p.id));
    Json(json!(seen.map(PublisherBody::from).collect::<Vec<_>>()))
}

pub(super) async fn put_publisher(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(key): Path<String>,
    Body(body): Body<PublisherBody>,
) -> Result<StatusCode, Refusal> {
    app.put_publisher(&caller, &key, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn shows(State(app): State<Arc<App>>, caller: Caller) -> Json<Value> {
    let snapshot = app.ads.snapshot();
    let seen = snapshot
        .shows()
        .filter(|s| caller.sees_publisher(&s.publisher_id));
    Json(json!(seen.map(ShowBody::from).collect::<Vec<_>>()))
}

pub(super) async fn put_show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(key): Path<String>,
    Body(body): Body<ShowBody>,
) -> Result<StatusCode, Refusal> {
    app.put_show(&caller, &key, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn advertisers(State(app): State<Arc<App>>, caller: Caller) -> Json<Value> {
    let snapshot = app.ads.snapshot();
    let seen = snapshot
        .advertisers
        .iter()
        .filter(|a| caller.sees_advertiser(&a.id));
    Json(json!(seen.map(AdvertiserBody::from).collect::<Vec<_>>()))
}

pub(super) async fn put_advertiser(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(key): Path<String>,
    Body(body): Body<AdvertiserBody>,
) -> Result<StatusCode, Refusal> {
    app.put_advertiser(&caller, &key, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn campaigns(State(app): State<Arc<App>>, caller: Caller) -> Json<Value> {
    let all = app.ads.standing(|snapshot, counters| {
        let entries = snapshot.campaigns.iter().enumerate();
        entries
            .filter(|(_, c)| caller.sees_advertiser(&c.campaign.advertiser_id))
            .map(|(n, c)| {
                let mut value = json!(CampaignBody::from(&c.campaign));
                value["archived"] = json!(c.campaign.archived);
                value["committed_micros"] = json!(counters.campaigns[n].total());
                value
            })
            .collect::<Vec<_>>()
    });
    Json(json!(all))
}

pub(super) async fn put_campaign(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(key): Path<String>,
    Body(body): Body<CampaignBody>,
) -> Result<StatusCode, Refusal> {
    app.put_campaign(&caller, &key, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl App {
    /// Adds or changes a publisher, if the caller may.
    pub(crate) async fn put_publisher(
        &self,
        caller: &Caller,
        key: &str,
        body: PublisherBody,
    ) -> Result<(), Refusal> {
        caller.admin()?;
        let publishers = vec![body.check(key)?];
        self.put(Catalog {
            publishers,
            ..Catalog::default()
        })
        .await
    }

    /// Adds or changes a show, if the caller may.
    pub(crate) async fn put_show(&self, caller: &Caller, key: &str, body: ShowBody) -> Result<(), Refusal> {
        let mut show = body.check(key)?;
        caller.changes_publisher(&show.publisher_id)?;
        let snapshot = self.ads.snapshot();
        snapshot
            .publisher(&show.publisher_id)
            .ok_or_else(|| missing("publisher"))?;
        let before = snapshot.show(key);
        if let Some(before) = before {
            caller.changes_publisher(&before.publisher_id)?;
        }
        if caller.role != Role::Admin {
            // What a publisher is paid is not the publisher's to say.
            show.share = before.and_then(|b| b.share);
        }
        let shows = vec![show];
        self.put(Catalog {
            shows,
            ..Catalog::default()
        })
        .await
    }

    /// Adds or changes an advertiser, if the caller may.
    pub(crate) async fn put_advertiser(
        &self,
        caller: &Caller,
        key: &str,
        body: AdvertiserBody,
    ) -> Result<(), Refusal> {
        caller.admin()?;
        let advertisers = vec![body.check(key)?];
        self.put(Catalog {
            advertisers,
            ..Catalog::default()
        })
        .await
    }

    async fn put(&self, catalog: Catalog) -> Result<(), Refusal> {
        Ok(self.ads.load(&catalog).await?)
    }

    /// Takes something out of use or brings it back, if the caller may. Its campaign.
    pub(crate) async fn archive(
        &self,
        caller: &Caller,
        what: Shelf,
        key: &str,
        archived: bool,
    ) -> Result<String, Refusal> {
        let snapshot = self.ads.snapshot();
        let campaign = match what {
            Shelf::Campaign => key.to_owned(),
            Shelf::Flight => campaign_of_flight(&snapshot, key)?.to_owned(),
            Shelf::Creative => {
                let index = snapshot.creative(key).ok_or_else(|| missing("creative"))?;
                campaign_of_flight(&snapshot, &snapshot.creatives[index.0].creative.flight_id)?.to_owned()
            }
        };
        caller.changes_advertiser(&owner_of_campaign(&snapshot, &campaign)?)?;
        self.ads.archive(what, key, archived).await?;
        Ok(campaign)
    }

    /// Changes what is said about a creative, if the caller may. Its campaign.
    pub(crate) async fn change_creative(
        &self,
        caller: &Caller,
        key: &str,
        body: CreativeChange,
    ) -> Result<String, Refusal> {
        let snapshot = self.ads.snapshot();
        let index = snapshot.creative(key).ok_or_else(|| missing("creative"))?;
        let mut creative = snapshot.creatives[index.0].creative.clone();
        caller.changes_advertiser(&owner_of_flight(&snapshot, &creative.flight_id)?)?;
        if let Some(title) = optional("title", body.title.as_ref())? {
            creative.title = title;
        }
        if let Some(weight) = body.weight {
            creative.weight = weight_of(weight)?;
        }
        if body.click_through.is_some() {
            creative.click_through = url("click_through", body.click_through.as_ref())?;
        }
        match body.skip_after {
            Change::Keep => {}
            Change::Clear => creative.skip_after = None,
            Change::To(seconds) => creative.skip_after = Some(millis("skip_after", seconds)?),
        }
        let campaign = campaign_of_flight(&snapshot, &creative.flight_id)?.to_owned();
        self.put_creative(creative).await?;
        Ok(campaign)
    }

    /// Adds or changes a campaign, if the caller may.
    pub(crate) async fn put_campaign(
        &self,
        caller: &Caller,
        key: &str,
        body: CampaignBody,
    ) -> Result<(), Refusal> {
        let campaign = body.check(key)?;
        caller.changes_advertiser(&campaign.advertiser_id)?;
        let snapshot = self.ads.snapshot();
        if !snapshot
            .advertisers
            .iter()
            .any(|a| a.id == campaign.advertiser_id)
        {
            return Err(missing("advertiser"));
        }
        if let Ok(before) = owner_of_campaign(&snapshot, key) {
            caller.changes_advertiser(&before)?;
        }
        let campaigns = vec![campaign];
        self.put(Catalog {
            campaigns,
            ..Catalog::default()
        })
        .await
    }

    /// Adds or changes a flight, if the caller may.
    pub(crate) async fn put_flight(
        &self,
        caller: &Caller,
        key: &str,
        body: FlightBody,
    ) -> Result<(), Refusal> {
        let flight = body.check(key)?;
        let snapshot = self.ads.snapshot();
        caller.changes_advertiser(&owner_of_campaign(&snapshot, &flight.campaign_id)?)?;
        if let Ok(before) = owner_of_flight(&snapshot, key) {
            caller.changes_advertiser(&before)?;
        }
        let flights = vec![flight];
        self.put(Catalog {
            flights,
            ..Catalog::default()
        })
        .await
    }

    /// Pauses or resumes a flight, if the caller may. Its campaign.
    pub(crate) async fn pause(&self, caller: &Caller, flight: &str, paused: bool) -> Result<String, Refusal> {
        let snapshot = self.ads.snapshot();
        caller.changes_advertiser(&owner_of_flight(&snapshot, flight)?)?;
        let index = snapshot.flight(flight).ok_or_else(|| missing("flight"))?;
        let mut flight = snapshot.flights[index.0].flight.clone();
        flight.paused = paused;
        let campaign = flight.campaign_id.clone();
        let flights = vec![flight];
        self.put(Catalog {
            flights,
            ..Catalog::default()
        })
        .await?;
        Ok(campaign)
    }

    /// Takes an upload for a flight, if the caller may. A form of the desk carries its word in the field `word`.
    pub(crate) async fn upload(
        &self,
        caller: &Caller,
        flight: &str,
        upload: Upload,
    ) -> Result<Creative, Refusal> {
        let snapshot = self.ads.snapshot();
        caller.changes_advertiser(&owner_of_flight(&snapshot, flight)?)?;
        let key = match upload.field("id") {
            Some(text) => id(text)?,
            None => format!("creative-{}", &super::super::new_id()[28..]),
        };
        if let Some(index) = snapshot.creative(&key) {
            let before = &snapshot.creatives[index.0].creative.flight_id;
            caller.changes_advertiser(&owner_of_flight(&snapshot, before)?)?;
        }
        let weight = number(&upload, "weight", 1, 1000)?.unwrap_or(1);
        let skip = number(&upload, "skip_after", 0, 3600)?.map(|s| i64::from(s) * 1000);
        let title = optional("title", upload.field("title").map(str::to_owned).as_ref())?;
        let page = url(
            "click_through",
            upload.field("click_through").map(str::to_owned).as_ref(),
        )?;
        let size = (
            number(&upload, "width", 0, 16_384)?.unwrap_or(0),
            number(&upload, "height", 0, 16_384)?.unwrap_or(0),
        );
        let registered = match (upload.field("ad_registry"), upload.field("ad_id")) {
            (Some(registry), Some(ad)) => Some((text("ad_registry", registry)?, text("ad_id", ad)?)),
            _ => None,
        };
        let measured = self
            .uploads
            .take(upload, size)
            .await
            .map_err(|error| match error {
                upload::UploadError::Refused(reason) => Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason),
                upload::UploadError::Failed(reason) => {
                    tracing::error!(reason, "upload");
                    Refusal(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "uploads cannot be taken now".to_owned(),
                    )
                }
            })?;
        let (ad_registry, ad_id) =
            registered.unwrap_or_else(|| (crate::load::OWN_REGISTRY.to_owned(), measured.sha256.clone()));
        let creative = Creative {
            info_hash: Some(measured.info_hash),
            archived: false,
            title: title.unwrap_or_else(|| key.clone()),
            id: key,
            flight_id: flight.to_owned(),
            path: measured.path,
            media_type: measured.media_type,
            width: size.0,
            height: size.1,
            duration: measured.duration,
            size: measured.size,
            modified: measured.modified,
            sha256: measured.sha256,
            ad_registry,
            ad_id,
            weight,
            bitrate: measured.bitrate,
            click_through: page,
            skip_after: skip,
            loudness: measured.loudness,
            true_peak: measured.true_peak,
            tag: None,
        };
        self.put_creative(creative.clone()).await?;
        Ok(creative)
    }

    async fn put_creative(&self, creative: Creative) -> Result<(), Refusal> {
        let creatives = vec![creative];
        self.put(Catalog {
            creatives,
            ..Catalog::default()
        })
        .await
    }
}

/// A whole number of an upload's form.
fn number(upload: &Upload, name: &str, low: u32, high: u32) -> Result<Option<u32>, Refusal> {
    upload
        .field(name)
        .map(|text| {
            text.parse()
                .ok()
                .filter(|n| (low..=high).contains(n))
                .ok_or_else(|| bad(format!("{name}: it is from {low} to {high}")))
        })
        .transpose()
}

pub(super) async fn flights(State(app): State<Arc<App>>, caller: Caller) -> Json<Value> {
    let all = app.ads.standing(|snapshot, counters| {
        let entries = snapshot.flights.iter().enumerate();
        entries
            .filter(|(_, f)| {
                let campaign = &snapshot.campaigns[f.campaign.0].campaign;
                caller.sees_advertiser(&campaign.advertiser_id)
            })
            .map(|(n, f)| {
                let mut value = json!(FlightBody::from(&f.flight));
                value["archived"] = json!(f.archived);
                value["served"] = json!(counters.flights[n].served.total());
                value
            })
            .collect::<Vec<_>>()
    });
    Json(json!(all))
}

pub(super) async fn put_flight(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(key): Path<String>,
    Body(body): Body<FlightBody>,
) -> Result<StatusCode, Refusal> {
    app.put_flight(&caller, &key, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn creative_json(c: &Creative) -> Value {
    json!({
        "id": c.id,
        "flight": c.flight_id,
        "title": c.title,
        "url": c.tag.is_none().then(|| format!("/creatives/{}", c.sha256)),
        "tag": c.tag,
        "media_type": c.media_type,
        "width": c.width,
        "height": c.height,
        "duration": c.duration as f64 / 1000.0,
        "size": c.size,
        "sha256": c.sha256,
        "universal_ad_id": {"registry": c.ad_registry, "id": c.ad_id},
        "archived": c.archived,
        "info_hash": c.info_hash,
        "torrent": c.info_hash.as_ref().map(|_| format!("/creatives/{}.torrent", c.sha256)),
        "weight": c.weight,
        "bitrate": c.bitrate,
        "click_through": c.click_through,
        "skip_after": c.skip_after.map(|s| s as f64 / 1000.0),
        "loudness_lufs": c.loudness.map(|l| l as f64 / 100.0),
        "true_peak_dbtp": c.true_peak.map(|l| l as f64 / 100.0),
    })
}

pub(super) async fn creatives(State(app): State<Arc<App>>, caller: Caller) -> Json<Value> {
    let snapshot = app.ads.snapshot();
    let seen = snapshot.creatives.iter().filter(|c| {
        owner_of_flight(&snapshot, &c.creative.flight_id).is_ok_and(|a| caller.sees_advertiser(&a))
    });
    Json(json!(
        seen.map(|c| creative_json(&c.creative)).collect::<Vec<_>>()
    ))
}

pub(super) async fn put_creative(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(key): Path<String>,
    Body(body): Body<CreativeChange>,
) -> Result<StatusCode, Refusal> {
    app.change_creative(&caller, &key, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

macro_rules! archiving {
    ($($archive:ident $restore:ident $shelf:ident;)*) => {$(
        pub(super) async fn $archive(
            State(app): State<Arc<App>>,
            caller: Caller,
            Path(key): Path<String>,
        ) -> Result<StatusCode, Refusal> {
            app.archive(&caller, Shelf::$shelf, &key, true).await?;
            Ok(StatusCode::NO_CONTENT)
        }

        pub(super) async fn $restore(
            State(app): State<Arc<App>>,
            caller: Caller,
            Path(key): Path<String>,
        ) -> Result<StatusCode, Refusal> {
            app.archive(&caller, Shelf::$shelf, &key, false).await?;
            Ok(StatusCode::NO_CONTENT)
        }
    )*};
}

archiving! {
    archive_campaign restore_campaign Campaign;
    archive_flight restore_flight Flight;
    archive_creative restore_creative Creative;
}

fn weight_of(weight: u32) -> Result<u32, Refusal> {
    if (1..=1000).contains(&weight) {
        Ok(weight)
    } else {
        Err(bad("weight: it is from 1 to 1000"))
    }
}

fn millis(name: &str, seconds: f64) -> Result<i64, Refusal> {
    if (0.0..=3600.0).contains(&seconds) {
        Ok((seconds * 1000.0).round() as i64)
    } else {
        Err(bad(format!("{name}: it is from 0 to 3600 seconds")))
    }
}

pub(super) async fn put_tag(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((flight, key)): Path<(String, String)>,
    Body(body): Body<TagBody>,
) -> Result<StatusCode, Refusal> {
    let snapshot = app.ads.snapshot();
    caller.changes_advertiser(&owner_of_flight(&snapshot, &flight)?)?;
    if let Some(index) = snapshot.creative(&key) {
        let before = &snapshot.creatives[index.0].creative.flight_id;
        caller.changes_advertiser(&owner_of_flight(&snapshot, before)?)?;
    }
    let parsed = url::Url::parse(&body.tag).ok();
    if !parsed.is_some_and(|u| matches!(u.scheme(), "http" | "https")) || body.tag.contains(['<', '>', ' ']) {
        return Err(bad("tag: an http or https URL is needed"));
    }
    let duration = millis("duration", body.duration)?;
    if duration == 0 {
        return Err(bad("duration: it is more than 0 seconds"));
    }
    let media_type = body.media_type.unwrap_or_else(|| "audio/mpeg".to_owned());
    if !media_type.starts_with("audio/") && !media_type.starts_with("video/") {
        return Err(bad("media_type: it begins with audio/ or video/"));
    }
    let key = id(&key)?;
    let sha256 = hex::encode(Sha256::digest(body.tag.as_bytes()));
    let creative = Creative {
        info_hash: None,
        archived: false,
        title: optional("title", body.title.as_ref())?.unwrap_or_else(|| key.clone()),
        id: key,
        flight_id: flight,
        path: String::new(),
        media_type: text("media_type", &media_type)?,
        width: 0,
        height: 0,
        duration,
        size: 0,
        modified: 0,
        ad_registry: crate::load::OWN_REGISTRY.to_owned(),
        ad_id: sha256.clone(),
        sha256,
        weight: weight_of(body.weight.unwrap_or(1))?,
        bitrate: 1,
        click_through: None,
        skip_after: None,
        loudness: None,
        true_peak: None,
        tag: Some(body.tag),
    };
    app.put_creative(creative).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn upload(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(flight): Path<String>,
    form: Multipart,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    // Before a byte of it is kept: it is the caller's flight.
    let owner = owner_of_flight(&app.ads.snapshot(), &flight);
    if let Err(refusal) = owner.and_then(|owner| caller.changes_advertiser(&owner)) {
        upload::discard(form).await;
        return Err(refusal);
    }
    let upload = app.uploads.read(form).await.map_err(bad)?;
    let creative = app.upload(&caller, &flight, upload).await?;
    Ok((StatusCode::CREATED, Json(creative_json(&creative))))
}

pub(super) async fn explain(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<ask::Query>,
) -> Result<Json<Value>, Refusal> {
    if !matches!(caller.role, Role::Admin | Role::Reader) {
        return Err(bad(
            "this shows every advertiser's creatives: only for admin and reader",
        ));
    }
    let question: Question = query.question()?;
    let (pod, others) = app.ads.explain(&question, app.clock.now(), rand::random());
    let others: Vec<Value> = others
        .into_iter()
        .map(|(creative, why)| json!({"creative": creative, "why": why}))
        .collect();
    Ok(Json(json!({"pod": pod, "others": others})))
}
