//! The attribute table of a meter: services, characteristics and their handles.
//!
//! Handles are given out in order as a real server does (Core specification, volume 3, part G, section 3): one for the
//! service declaration, two for each characteristic (declaration and value) and one for its client configuration.

/// A 16-bit Bluetooth SIG UUID.
pub type Uuid16 = u16;

/// First handle that a meter's own services use; the lower ones belong to Generic Access and Generic Attribute.
const FIRST_HANDLE: u16 = 0x000A;

/// What a client may do with a characteristic (Core specification, volume 3, part G, section 3.3.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The value can be read.
    pub read: bool,
    /// The value can be written with a response.
    pub write: bool,
    /// The value is sent without confirmation.
    pub notify: bool,
    /// The value is sent and confirmed.
    pub indicate: bool,
}

impl Access {
    /// Readable only.
    pub const READ: Self = Self {
        read: true,
        write: false,
        notify: false,
        indicate: false,
    };
    /// Readable and writable.
    pub const READ_WRITE: Self = Self {
        read: true,
        write: true,
        notify: false,
        indicate: false,
    };
    /// Written with a response only.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
        notify: false,
        indicate: false,
    };
    /// Notified only.
    pub const NOTIFY: Self = Self {
        read: false,
        write: false,
        notify: true,
        indicate: false,
    };
    /// Indicated only.
    pub const INDICATE: Self = Self {
        read: false,
        write: false,
        notify: false,
        indicate: true,
    };
    /// A control point: written with a response, answers indicated.
    pub const CONTROL_POINT: Self = Self {
        read: false,
        write: true,
        notify: false,
        indicate: true,
    };

    /// Whether values are sent to the client, so that there is a client configuration.
    pub fn sends(self) -> bool {
        self.notify || self.indicate
    }

    /// The names that BlueZ gives in the `Flags` property, in its order.
    pub fn flags(self) -> Vec<&'static str> {
        let named = [
            (self.read, "read"),
            (self.write, "write"),
            (self.notify, "notify"),
            (self.indicate, "indicate"),
        ];
        named
            .into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, name)| name)
            .collect()
    }
}

/// One characteristic with its handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Characteristic {
    /// Its UUID. A faulty meter may have it twice; both answer alike.
    pub uuid: Uuid16,
    /// What a client may do with it.
    pub access: Access,
    /// Handle of the declaration, which BlueZ puts into the object path.
    pub declaration: u16,
    /// Handle of the client configuration, when values are sent.
    pub configuration: Option<u16>,
}

/// One primary service with its handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its UUID.
    pub uuid: Uuid16,
    /// Handle of the declaration.
    pub handle: u16,
    /// Its characteristics in handle order.
    pub characteristics: Vec<Characteristic>,
}

/// All services of a meter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    services: Vec<Service>,
}

impl Profile {
    /// Lays services out in the order given.
    pub fn new(services: &[(Uuid16, Vec<(Uuid16, Access)>)]) -> Self {
        let mut handle = FIRST_HANDLE;
        let mut next = || {
            let given = handle;
            handle = handle.saturating_add(1);
            given
        };
        let services = services
            .iter()
            .map(|(uuid, characteristics)| Service {
                uuid: *uuid,
                handle: next(),
                characteristics: characteristics
                    .iter()
                    .map(|(uuid, access)| {
                        let declaration = next();
                        next();
                        Characteristic {
                            uuid: *uuid,
                            access: *access,
                            declaration,
                            configuration: access.sends().then(&mut next),
                        }
                    })
                    .collect(),
            })
            .collect();
        Self { services }
    }

    /// The services in handle order.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The characteristic with this UUID, if the meter has it.
    pub fn characteristic(&self, uuid: Uuid16) -> Option<&Characteristic> {
        self.services
            .iter()
            .flat_map(|service| &service.characteristics)
            .find(|found| found.uuid == uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_given_out_in_order() {
        let profile = Profile::new(&[
            (0x1810, vec![(0x2A35, Access::INDICATE), (0x2A49, Access::READ)]),
            (0x180A, vec![(0x2A29, Access::READ)]),
        ]);
        let [pressure, information] = profile.services() else {
            panic!("two services expected")
        };
        assert_eq!(pressure.handle, 0x000A);
        let [measurement, feature] = pressure.characteristics.as_slice() else {
            panic!("two characteristics expected")
        };
        assert_eq!(
            (measurement.declaration, measurement.configuration),
            (0x000B, Some(0x000D))
        );
        assert_eq!((feature.declaration, feature.configuration), (0x000E, None));
        assert_eq!(information.handle, 0x0010);
    }

    #[test]
    fn flags_are_the_names_of_bluez() {
        assert_eq!(Access::CONTROL_POINT.flags(), ["write", "indicate"]);
        assert_eq!(Access::READ_WRITE.flags(), ["read", "write"]);
    }
}
