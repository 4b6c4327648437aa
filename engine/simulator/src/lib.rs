//! Whole swarms of the shipped core on a virtual clock.
//!
//! Every viewer is a real [`engine::swarm::Swarm`]; what is simulated is the rest: uplinks and downlinks as queues of
//! blocks with a rate (what is urgent goes first, as its connection then takes the line from others), one delay between
//! any two participants, a tracker that answers at once, an origin with a rate. The same seed gives the same run. What
//! the model leaves out: loss, congestion control, header bytes, processing time. A viewer's verification is taken for
//! granted: blocks carry whether they are right.
//!
//! Not compiled into the product.

mod plan;
mod report;
mod world;

pub use plan::{Arrival, Network, OriginOutage, Player, Viewer};
pub use report::{Again, Report, ViewerReport, Wait};
pub use world::Simulation;
