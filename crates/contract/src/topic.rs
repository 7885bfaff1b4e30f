//! Topics: a gateway only ever under its own id, and no personal data in a topic.

use std::fmt;

use carepost_domain::id::GatewayId;

/// A topic of one gateway (page 4, "Topics").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The gateway.
    pub gateway: GatewayId,
    /// Its channel.
    pub channel: Channel,
}

/// The channels of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Batches of readings measured just now; gateway to server.
    UpLive,
    /// Batches of stored readings; gateway to server.
    UpReplay,
    /// `hello` and `applied`; gateway to server.
    UpControl,
    /// Receipts; server to gateway.
    Receipt,
    /// Snapshots, deltas and cursors; server to gateway.
    Down,
    /// Retained presence, with a last will; gateway to whoever watches.
    State,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 6] = [
        Self::UpLive,
        Self::UpReplay,
        Self::UpControl,
        Self::Receipt,
        Self::Down,
        Self::State,
    ];

    /// The part of the topic behind the gateway's id.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::UpLive => "up/live",
            Self::UpReplay => "up/replay",
            Self::UpControl => "up/ctl",
            Self::Receipt => "receipt",
            Self::Down => "down",
            Self::State => "state",
        }
    }

    /// Whether the gateway itself may publish here.
    #[must_use]
    pub const fn gateway_publishes(self) -> bool {
        matches!(self, Self::UpLive | Self::UpReplay | Self::UpControl | Self::State)
    }

    /// Whether the gateway itself may subscribe here.
    #[must_use]
    pub const fn gateway_subscribes(self) -> bool {
        matches!(self, Self::Receipt | Self::Down)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1/gw/{}/{}", self.gateway, self.channel.suffix())
    }
}

/// A text that is no topic of this contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the topic is not one of v1/gw/{{gateway}}/...")]
pub struct NotATopic;

impl std::str::FromStr for Topic {
    type Err = NotATopic;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("v1/gw/").ok_or(NotATopic)?;
        let (gateway, suffix) = rest.split_once('/').ok_or(NotATopic)?;
        let gateway_id: GatewayId = gateway.parse().map_err(|_| NotATopic)?;
        // One spelling only: braces, upper case and undashed UUIDs parse, but are other topics to a broker.
        if gateway_id.to_string() != gateway {
            return Err(NotATopic);
        }
        let channel = Channel::ALL
            .into_iter()
            .find(|c| c.suffix() == suffix)
            .ok_or(NotATopic)?;
        Ok(Self {
            gateway: gateway_id,
            channel,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_round_trip_and_foreign_ones_are_refused() {
        let gateway: GatewayId = "018f3c5e-0000-7000-8000-000000000001".parse().unwrap();
        for channel in Channel::ALL {
            let topic = Topic { gateway, channel };
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
        for bad in [
            "",
            "#",
            "v1/gw/+/up/live",
            "v1/gw/018F3C5E-0000-7000-8000-000000000001/up/live",
            "v1/gw/018f3c5e-0000-7000-8000-000000000001/up/live/",
            "v1/gw/018f3c5e-0000-7000-8000-000000000001",
            "v2/gw/018f3c5e-0000-7000-8000-000000000001/up/live",
        ] {
            assert_eq!(bad.parse::<Topic>(), Err(NotATopic), "{bad}");
        }
    }
}
