//! Which app signs: from the command line, from the settings, or the development app.

use crate::settings::{DEVELOPMENT_ID, Settings};
use anyhow::{Context as _, bail};
use ids::{AppId, AppKey};
use protocol::{App, Secret};
use std::{path::PathBuf, sync::Arc};

/// Without any of these it is the app of the settings, which is the development app if there are none.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The app that signs")]
pub(crate) struct Credentials {
    /// The settings file that the app is in.
    #[arg(long, global = true, value_name = "FILE", env = "ROLLCALL_CONFIG")]
    config: Option<PathBuf>,
    /// The id of the app in the settings that signs; needed if there are several.
    #[arg(long, global = true, value_name = "ID", conflicts_with_all = ["key", "secret"])]
    app: Option<AppId>,
    /// The key of the app that signs, with its --secret.
    #[arg(long, global = true, env = "ROLLCALL_KEY", requires = "secret")]
    key: Option<AppKey>,
    /// The secret of the app that signs, with its --key. Others on this machine can read a command line: prefer the
    /// environment, or a settings file.
    #[arg(long, global = true, env = "ROLLCALL_SECRET", hide_env_values = true, requires = "key")]
    secret: Option<String>,
}

impl Credentials {
    pub(crate) fn app(&self) -> anyhow::Result<Arc<App>> {
        if let (Some(key), Some(secret)) = (&self.key, &self.secret) {
            if secret.is_empty() {
                bail!("the secret must not be empty");
            }
            // The id stands in no signature.
            let id = DEVELOPMENT_ID.parse().context("the development app's id")?;
            return Ok(Arc::new(App::new(id, key.clone(), Secret::new(secret))));
        }
        let apps = Settings::load(self.config.as_deref())?.apps;
        let mut all = apps.iter();
        match (&self.app, all.next(), all.next()) {
            (Some(id), _, _) => {
                apps.by_id(id).cloned().with_context(|| format!("there is no app {id} in the settings"))
            }
            (None, Some(only), None) => Ok(Arc::clone(only)),
            (None, _, _) => bail!("there are several apps in the settings: say which, with --app"),
        }
    }
}
