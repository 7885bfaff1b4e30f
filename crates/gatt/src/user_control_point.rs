//! User Control Point 2A9F of the User Data Service.

use alloc::vec::Vec;

use crate::bytes::{MAX_ATTRIBUTE_BYTES, Reader};
use crate::codes::coded_enum;
use crate::{DecodeError, Decoded, EncodeError};

const OP_RESPONSE: u8 = 0x20;

coded_enum! {
    /// What a request asks for.
    pub enum OpCode, field "op", unknown "unknown_" {
        /// Register a new user with a consent code.
        1 => RegisterNewUser "register_new_user",
        /// Open a user's data with the consent code, for this connection.
        2 => Consent "consent",
        /// Delete the data of the user who gave consent.
        3 => DeleteUserData "delete_user_data",
        /// List all users.
        4 => ListAllUsers "list_all_users",
        /// Delete users by index.
        5 => DeleteUsers "delete_users",
    }
}

coded_enum! {
    /// How a request ended.
    pub enum ResponseCode, field "code", unknown "unknown_" {
        /// Done.
        1 => Success "success",
        /// The op code is not supported.
        2 => OpCodeNotSupported "op_code_not_supported",
        /// The parameter is not valid.
        3 => InvalidParameter "invalid_parameter",
        /// The operation failed, for example by a wrong consent code.
        4 => OperationFailed "operation_failed",
        /// The user is not authorised.
        5 => UserNotAuthorized "user_not_authorized",
    }
}

/// A request written to the control point, or an answer indicated by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UserControlPoint {
    /// Register a new user.
    RegisterNewUser {
        /// 0 to 9999 by rule, any number as sent.
        consent_code: u16,
    },
    /// Open a user's data.
    Consent {
        /// Index of the user.
        user_index: u8,
        /// The user's consent code.
        consent_code: u16,
    },
    /// Delete the data of the user who gave consent.
    DeleteUserData,
    /// List all users.
    ListAllUsers,
    /// Delete users.
    DeleteUsers {
        /// Index of the user, 255 for all.
        user_index: u8,
    },
    /// A request with an op code not known here.
    UnknownRequest {
        /// Op code.
        op: u8,
        /// Bytes after the op code.
        parameter: Vec<u8>,
    },
    /// An answer.
    Response {
        /// Op code of the request.
        request_op: OpCode,
        /// How it ended.
        code: ResponseCode,
        /// Bytes after the code, empty for none.
        parameter: Vec<u8>,
    },
}

impl UserControlPoint {
    /// Reads a request or an answer.
    ///
    /// # Errors
    /// `TooShort` if a parameter that the op code asks for is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let op = Reader::new(bytes, 1)?.u8()?;
        let need = match (op, OpCode::from_code(op)) {
            (OP_RESPONSE, _) | (_, OpCode::RegisterNewUser) => 3,
            (_, OpCode::Consent) => 4,
            (_, OpCode::DeleteUsers) => 2,
            (_, OpCode::DeleteUserData | OpCode::ListAllUsers | OpCode::Unknown(_)) => 1,
        };
        let mut reader = Reader::new(bytes, need)?;
        // The op code is known by now.
        reader.u8()?;
        let value = match (op, OpCode::from_code(op)) {
            (OP_RESPONSE, _) => Self::Response {
                request_op: OpCode::from_code(reader.u8()?),
                code: ResponseCode::from_code(reader.u8()?),
                parameter: take_parameter(&mut reader)?,
            },
            (_, OpCode::RegisterNewUser) => Self::RegisterNewUser {
                consent_code: reader.u16()?,
            },
            (_, OpCode::Consent) => Self::Consent {
                user_index: reader.u8()?,
                consent_code: reader.u16()?,
            },
            (_, OpCode::DeleteUserData) => Self::DeleteUserData,
            (_, OpCode::ListAllUsers) => Self::ListAllUsers,
            (_, OpCode::DeleteUsers) => Self::DeleteUsers {
                user_index: reader.u8()?,
            },
            (_, OpCode::Unknown(op)) => Self::UnknownRequest {
                op,
                parameter: take_parameter(&mut reader)?,
            },
        };
        Ok(reader.finish(value))
    }

    /// Writes the request or answer.
    ///
    /// # Errors
    /// If an unknown op code is a known one, or a parameter is longer than an attribute.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        match self {
            Self::RegisterNewUser { consent_code } => {
                out.push(OpCode::RegisterNewUser.code());
                out.extend_from_slice(&consent_code.to_le_bytes());
            }
            Self::Consent {
                user_index,
                consent_code,
            } => {
                out.extend_from_slice(&[OpCode::Consent.code(), *user_index]);
                out.extend_from_slice(&consent_code.to_le_bytes());
            }
            Self::DeleteUserData => out.push(OpCode::DeleteUserData.code()),
            Self::ListAllUsers => out.push(OpCode::ListAllUsers.code()),
            Self::DeleteUsers { user_index } => {
                out.extend_from_slice(&[OpCode::DeleteUsers.code(), *user_index]);
            }
            Self::UnknownRequest { op: OP_RESPONSE, .. } => {
                return Err(EncodeError::OutOfRange { field: "op" });
            }
            Self::UnknownRequest { op, parameter } => {
                out.push(OpCode::Unknown(*op).checked_code(u8::MAX)?);
                put_parameter(&mut out, parameter)?;
            }
            Self::Response {
                request_op,
                code,
                parameter,
            } => {
                out.push(OP_RESPONSE);
                out.push(request_op.checked_code(u8::MAX)?);
                out.push(code.checked_code(u8::MAX)?);
                put_parameter(&mut out, parameter)?;
            }
        }
        Ok(out)
    }
}

fn take_parameter(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let mut parameter = Vec::new();
    while parameter.len() < MAX_ATTRIBUTE_BYTES && reader.remaining() > 0 {
        parameter.push(reader.u8()?);
    }
    Ok(parameter)
}

fn put_parameter(out: &mut Vec<u8>, parameter: &[u8]) -> Result<(), EncodeError> {
    if parameter.len() > MAX_ATTRIBUTE_BYTES {
        return Err(EncodeError::TooLong {
            field: "parameter",
            limit: MAX_ATTRIBUTE_BYTES,
        });
    }
    out.extend_from_slice(parameter);
    Ok(())
}
