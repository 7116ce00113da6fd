//! The keys with which a queue is run: two runs with keys of two accounts would each take what the other has
//! submitted for absent, and pay for it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::ProviderName;
use crate::provider::Provider;
use crate::queue::{KeyNote, Queue};

use super::args::KeyArgs;
use super::exit::{Exit, Usage};
use super::render;
use super::setup::Setup;

/// Notes with which keys the queue is run, and says which have changed. Takes out the providers at which an active
/// run uses another key, and returns the marks of the others.
pub(super) async fn note_keys(
    setup: &Setup,
    queue: &dyn Queue,
    providers: &mut BTreeMap<ProviderName, Arc<dyn Provider>>,
) -> anyhow::Result<BTreeMap<ProviderName, String>> {
    let queue_id = queue.lineage().await?.queue_id;
    let mut marks = BTreeMap::new();
    for provider in providers.keys() {
        let Some(mark) = setup.app.key_mark(*provider, &queue_id) else {
            continue;
        };
        match queue.note_key(*provider, mark.clone()).await? {
            KeyNote::Known => {}
            KeyNote::Changed => render::print_note(format_args!(
                "the key of {provider} has changed: if it is of another account, its history proves \
                 nothing about earlier submissions, so those in doubt wait for your decision"
            )),
            KeyNote::DiffersFromActive => {
                let same = setup.suggest("ctl").arg("key").arg(provider.as_str());
                render::print_note(format_args!(
                    "an active run uses another key of {provider}, so that this one leaves {provider} to it\n\
                     hint: use the same key, or run `{} --same-account` if both are of one account",
                    same
                ));
                continue;
            }
        }
        marks.insert(*provider, mark);
    }
    providers.retain(|provider, _| marks.contains_key(provider));
    if providers.is_empty() {
        anyhow::bail!("active runs use other keys of all providers");
    }
    Ok(marks)
}

/// Notes that the key of this command is of the same account as the one that is used.
pub(super) async fn add_key(setup: &Setup, args: KeyArgs) -> anyhow::Result<Exit> {
    let KeyArgs { provider, .. } = args;
    let queue = setup.app.queue()?;
    let queue_id = queue.lineage().await?.queue_id;
    let Some(mark) = setup.app.key_mark(provider, &queue_id) else {
        let variable = provider.key_variable();
        return Err(Usage(format!("{variable} is not set")).into());
    };
    queue.add_key(provider, mark).await?;
    render::print_line(format_args!(
        "the key of {provider} counts as one of the same account"
    ))?;
    Ok(Exit::Success)
}
