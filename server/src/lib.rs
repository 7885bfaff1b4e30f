//! The server of Carepost: MQTT endpoint, ingest, care, JSON API, pages, jobs. The program around it is
//! `carepost-server`; start reading at [`app`].

pub mod api;
pub mod app;
pub mod auth;
pub mod broker;
pub mod cli;
pub mod config;
mod http;
mod ingest;
mod jobs;
mod models;
pub mod rules;
pub mod telemetry;
pub mod web;
