//! `/creatives/…`: the media files, each under its hash, and the metainfo of those that are in the swarm.
//!
//! Only registered files are served, and only while they are what was hashed.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tower_http::services::ServeFile;

use super::{App, Refusal};
use crate::upload::metainfo;

/// The metainfo of a creative: its web seed is this server, under the name that it was asked by.
async fn torrent(app: &App, sha256: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let web_seed = format!("{}/creatives/{sha256}", app.base(headers));
    for file in app.ads.db().files(sha256).await? {
        let (path, seed, trackers) = (file.path.clone(), web_seed.clone(), app.trackers.clone());
        let read = tokio::task::spawn_blocking(move || metainfo(path.as_ref(), &seed, &trackers));
        match read.await {
            Ok(Ok(bytes)) => {
                let kind = [(header::CONTENT_TYPE, "application/x-bittorrent")];
                return Ok((kind, bytes).into_response());
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(Err(error)) => tracing::error!(path = file.path, %error, "the metainfo cannot be read"),
            Err(error) => tracing::error!(path = file.path, %error, "the metainfo cannot be read"),
        }
    }
    Err(Refusal(
        StatusCode::NOT_FOUND,
        "no such creative in the swarm".to_owned(),
    ))
}

/// A creative by its hash: its URL never means other bytes, so it may be kept for ever.
pub(super) async fn creative(
    State(app): State<Arc<App>>,
    Path(sha256): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    if let Some(sha256) = sha256.strip_suffix(".torrent") {
        return torrent(&app, sha256, request.headers()).await;
    }
    let missing = || Refusal(StatusCode::NOT_FOUND, "no such creative".to_owned());
    for file in app.ads.db().files(&sha256).await? {
        match unchanged(&file).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::error!(
                    path = file.path,
                    "creative changed since it was loaded: load it again"
                );
                continue;
            }
            Err(error) => {
                tracing::error!(path = file.path, %error, "creative cannot be read");
                continue;
            }
        }
        let (parts, _) = request.into_parts();
        let head = parts.method == Method::HEAD;
        let request = Request::from_parts(parts, axum::body::Body::empty());
        let response = ServeFile::new(&file.path)
            .try_call(request)
            .await
            .map_err(|error| {
                Refusal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("cannot read it: {error}"),
                )
            })?;
        tracing::debug!(status = %response.status(), head, path = file.path, "creative");
        let mut response = response.map(axum::body::Body::new);
        if response.status().is_success() {
            let headers = response.headers_mut();
            let kind = HeaderValue::from_str(&file.media_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream"));
            headers.insert(header::CONTENT_TYPE, kind);
            headers.insert(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            );
            headers.insert(
                header::CACHE_CONTROL,
                HeaderValue::from_static("public, max-age=31536000, immutable"),
            );
            if let Ok(tag) = HeaderValue::from_str(&format!("\"{sha256}\"")) {
                headers.insert(header::ETAG, tag);
            }
        }
        return Ok(response);
    }
    Err(missing())
}

async fn unchanged(file: &crate::store::StoredFile) -> std::io::Result<bool> {
    let about = tokio::fs::metadata(&file.path).await?;
    Ok(about.len() as i64 == file.size && crate::load::modified(&about)? == file.modified)
}
