//! What could tell this device from others, and therefore stays on it unless the viewer allows otherwise.
//!
//! - A *secret for each publisher* (`viewer-keys/`): out of it comes a signing key for each playback, and only that is shown.
//!   It has nothing to do with any key of the swarm.
//! - The *ad id* (`ad-id`): a random number that ad servers may count by. It is made, and sent, only with `--allow-ad-id`;
//!   removing the file makes another one.

use ad_splicer::proof::ViewerSecret;
use anyhow::Context as _;
use engine::cue_sheet::SecretKey;
use sha2::{Digest as _, Sha256};

use crate::context::Context;
use crate::files::write_whole;
use crate::output::Explain as _;

/// The viewer's secret for a publisher; made when there is none.
pub(crate) fn viewer_secret(context: &Context, publisher: &[u8; 32]) -> anyhow::Result<ViewerSecret> {
    let path = context.viewer_keys().join(hex::encode(publisher));
    let key = SecretKey::load_or_create(&path)?;
    // Ed25519 signatures are determined by the key, and this one is never shown.
    let signature = key.sign(b"grove viewer secret 1");
    Ok(ViewerSecret::from_bytes(Sha256::digest(signature).into()))
}

/// The ad id, when the viewer allows it: 32 hexadecimal digits.
pub(crate) fn ad_id(context: &Context, allowed: bool) -> anyhow::Result<Option<String>> {
    if !allowed {
        return Ok(None);
    }
    let path = context.data.join("ad-id");
    if !path.exists() {
        let fresh: [u8; 16] = rand::random();
        write_whole(&path, hex::encode(fresh).as_bytes())?;
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the ad id {}", path.display()))?;
    let id = text.trim().to_owned();
    let is_ours = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    anyhow::Ok(())
        .and_then(|()| {
            anyhow::ensure!(
                is_ours,
                "the ad id {} is not 32 hexadecimal digits",
                path.display()
            );
            Ok(Some(id))
        })
        .hint(|| "remove the file, and another one is made".into())
}
