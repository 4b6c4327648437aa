//! A small ad decisioning service: campaigns, VAST, signed beacons, reports.
