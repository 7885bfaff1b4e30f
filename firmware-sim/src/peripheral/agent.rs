//! The meter's side of pairing, by all association models.
//!
//! bluetoothd makes passkeys up and has the agent show them, or asks for the one that the central shows. A meter of this
//! simulator shows and asks in the control protocol (`display`, `type_passkey`, `confirm_pairing`), and nowhere else:
//! numbers are not logged.

use zbus::ObjectPath;
use zbus::message::Message;

use super::front::Front;
use super::seat::{Post, Question, Registration};
use super::serve::CallError;
use crate::SimTime;
use crate::control::{Display, Refusal, Reply};
use crate::meters::{Demand, IoCapability, MAX_PASSKEY};

impl Front {
    /// The IO capability of all meters together, in the words of bluetoothd: there is one agent for all adapters.
    pub(crate) fn capability(&self) -> &'static str {
        use IoCapability as Io;
        let has = |wanted: &[Io]| {
            self.posts
                .iter()
                .any(|post| wanted.contains(&post.security.settings().io))
        };
        let displays = has(&[Io::DisplayOnly, Io::DisplayYesNo, Io::KeyboardDisplay]);
        let answers = has(&[Io::DisplayYesNo]);
        let types = has(&[Io::KeyboardOnly, Io::KeyboardDisplay]);
        match (displays, answers, types) {
            (true, _, true) => "KeyboardDisplay",
            (true, true, false) => "DisplayYesNo",
            (true, false, false) => "DisplayOnly",
            (false, _, true) => "KeyboardOnly",
            (false, _, false) => "NoInputNoOutput",
        }
    }

    fn post_of(&mut self, device: &ObjectPath<'_>) -> Result<&mut Post, CallError> {
        let index = self.seat_of_device(device.as_str()).ok_or_else(CallError::rejected)?;
        self.posts.get_mut(index).ok_or_else(CallError::rejected)
    }

    pub(crate) fn agent_call(&mut self, member: &str, call: &Message) -> Result<(), CallError> {
        let body = call.body();
        match member {
            "DisplayPasskey" => {
                // The third number counts the digits typed so far; it comes again with each.
                let (device, passkey, _): (ObjectPath<'_>, u32, u16) =
                    body.deserialize().map_err(|_| CallError::rejected())?;
                let post = self.post_of(&device)?;
                if post.shows.replace(passkey) != Some(passkey) {
                    tracing::info!(meter.id = post.id, "a passkey is on the meter's display");
                }
                self.reply(call, &());
            }
            "RequestPasskey" => {
                let device: ObjectPath<'_> = body.deserialize().map_err(|_| CallError::rejected())?;
                let post = self.post_of(&device)?;
                post.question = Some(Question::Passkey(call.clone()));
                tracing::info!(meter.id = post.id, "the meter waits for a passkey");
            }
            "RequestConfirmation" => {
                let (device, number): (ObjectPath<'_>, u32) = body.deserialize().map_err(|_| CallError::rejected())?;
                let post = self.post_of(&device)?;
                post.shows = Some(number);
                if post.security.settings().confirms_by_itself {
                    self.reply(call, &());
                } else {
                    post.question = Some(Question::Confirmation(call.clone()));
                    tracing::info!(meter.id = post.id, "the meter waits for yes or no");
                }
            }
            // Just Works, seen from here.
            "RequestAuthorization" => {
                let device: ObjectPath<'_> = body.deserialize().map_err(|_| CallError::rejected())?;
                if self.post_of(&device)?.security.settings().demands == Demand::Authentication {
                    return Err(CallError::rejected());
                }
                self.reply(call, &());
            }
            "AuthorizeService" => self.reply(call, &()),
            // What was shown or asked is not valid any more.
            "Cancel" => {
                for post in &mut self.posts {
                    post.shows = None;
                    post.question = None;
                }
                self.reply(call, &());
            }
            "Release" => {
                self.agent = Registration::Absent;
                self.reply(call, &());
            }
            // PIN codes belong to another kind of Bluetooth.
            _ => return Err(CallError::rejected()),
        }
        Ok(())
    }

    /// What people in front of the meter see.
    pub(crate) fn display(&self, now: SimTime, index: usize) -> Reply {
        let Some(post) = self.posts.get(index) else {
            return Reply::Done {};
        };
        Reply::Display(Display {
            shows: post.shows.map(|number| format!("{number:06}")),
            asks_passkey: matches!(post.question, Some(Question::Passkey(_))),
            asks_confirmation: matches!(post.question, Some(Question::Confirmation(_))),
            pairing_mode: post.security.in_pairing_mode(now),
            bonds: post.bonded.len(),
        })
    }

    /// A person types on the meter.
    pub(crate) fn type_passkey(&mut self, index: usize, passkey: &str) -> Result<Reply, Refusal> {
        let digits = passkey.len() == 6 && passkey.bytes().all(|byte| byte.is_ascii_digit());
        let typed: Option<u32> = passkey.parse().ok().filter(|typed| digits && *typed <= MAX_PASSKEY);
        let typed = typed.ok_or_else(|| Refusal::new("bad_value", "a passkey has six digits"))?;
        let asked = self.posts.get_mut(index).and_then(|post| {
            post.question
                .take_if(|question| matches!(question, Question::Passkey(_)))
        });
        let question = asked.ok_or_else(|| not_asked("a passkey"))?;
        self.reply(question.call(), &typed);
        Ok(Reply::Done {})
    }

    /// A person says yes or no on the meter; no also ends a passkey question.
    pub(crate) fn confirm_pairing(&mut self, index: usize, accept: bool) -> Result<Reply, Refusal> {
        let asked = self.posts.get_mut(index).and_then(|post| {
            post.question
                .take_if(|question| !accept || matches!(question, Question::Confirmation(_)))
        });
        let question = asked.ok_or_else(|| not_asked("yes or no"))?;
        if accept {
            self.reply(question.call(), &());
        } else {
            self.reply_error(question.call(), &CallError::rejected());
        }
        Ok(Reply::Done {})
    }
}

fn not_asked(what: &str) -> Refusal {
    Refusal::new("not_asked", format!("the meter does not wait for {what}"))
}
