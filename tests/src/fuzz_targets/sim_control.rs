//! Lines of the simulator's control interface.
//!
//! Promises: every line is either a command, which says the same after it was written again, or refused with a code that
//! is documented and with words.

use carepost_sim::control::parse_line;
use serde_json::Value;

/// The codes that a line can be refused with before anything is done.
const CODES: [&str; 2] = ["not_json", "bad_request"];

/// See the module. The input is the line.
pub fn sim_control(data: &[u8]) {
    let (id, command) = parse_line(data);
    assert!(
        matches!(id, Value::Null | Value::Number(_) | Value::String(_)),
        "an answer repeats a number or a text"
    );
    match command {
        Ok(command) => {
            let mut line = serde_json::to_value(&command).expect("a command can be written");
            if let Some(members) = line.as_object_mut() {
                members.insert("id".to_owned(), id.clone());
            }
            let (id_again, again) = parse_line(line.to_string().as_bytes());
            assert_eq!(id_again, id);
            assert_eq!(again.as_ref(), Ok(&command));
        }
        Err(refusal) => {
            assert!(CODES.contains(&refusal.code.as_str()), "{refusal}");
            assert!(!refusal.message.is_empty());
        }
    }
}
