//! One order: from an account to a certificate on the volume.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow, bail};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use tokio::runtime::Builder;
use url::Url;

use super::client::Client;
use crate::config::{Acme, Git};
use crate::store::PrivateFolder;
use crate::util::cancel::CancelFlag;

/// The account of this mirror at the server.
const ACCOUNT: &str = "account.json";

/// What the web server has to answer during an order: the proof by the name of its file (RFC 8555 section 8.3).
pub type Challenges = BTreeMap<String, String>;

/// Orders a certificate for these hosts, and writes it with its key into the folder. `publish` has the web server answer with
/// challenges, and without any at the end; blocks for up to some minutes.
///
/// # Errors
/// The server cannot be reached, refuses, or does not get the proof of a host, which is then named.
pub fn order(
    acme: &Acme,
    hosts: &BTreeSet<String>,
    git: &Git,
    folder: &PrivateFolder,
    cancel: &CancelFlag,
    publish: impl Fn(Challenges),
) -> Result<()> {
    let runtime =
        Builder::new_current_thread().enable_time().build().context("failed to start the runtime")?;
    let directory = acme.directory_url();
    let ordered = runtime.block_on(async {
        let account = account(acme, git, folder, cancel).await?;
        let identifiers: Vec<_> = hosts.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(said)?;
        publish(challenges(&mut order).await?);
        prove(&mut order).await?;
        let key = order.finalize().await.map_err(said)?;
        let chain = order.poll_certificate(&RetryPolicy::default()).await.map_err(said)?;
        folder.replace(Acme::CERTIFICATE, format!("{chain}{key}").as_bytes())
    });
    publish(Challenges::new());
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    ordered.with_context(|| format!("`{directory}` gave no certificate for {}", hosts.join(", ")))
}

/// The account on the volume, or a new one.
async fn account(acme: &Acme, git: &Git, folder: &PrivateFolder, cancel: &CancelFlag) -> Result<Account> {
    let directory = acme.directory_url();
    let client = Client::new(&Url::parse(directory)?, git, cancel)?;
    let builder = Account::builder_with_http(Box::new(client));
    if let Some(bytes) = folder.read(ACCOUNT)? {
        let path = folder.path(ACCOUNT);
        let credentials: AccountCredentials = serde_json::from_slice(&bytes).with_context(|| {
            format!("`{}` is no ACME account\nhint: remove it, and a new one is made", path.display())
        })?;
        return builder.from_credentials(credentials).await.map_err(said);
    }
    let contact = acme.contact.as_ref().map(|address| format!("mailto:{address}"));
    let contact: Vec<_> = contact.as_deref().into_iter().collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder.create(&new, directory.to_owned(), None).await.map_err(said)?;
    folder.replace(ACCOUNT, &serde_json::to_vec(&credentials)?)?;
    Ok(account)
}

/// What has to be answered for the hosts that are not proven yet.
async fn challenges(order: &mut Order) -> Result<Challenges> {
    let mut challenges = Challenges::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(said)?;
        if authorization.status == AuthorizationStatus::Pending {
            let challenge = authorization.challenge(ChallengeType::Http01);
            let challenge = challenge.context("the server offers no challenge HTTP-01")?;
            challenges.insert(challenge.token.clone(), challenge.key_authorization().as_str().to_owned());
        }
    }
    Ok(challenges)
}

/// Has the server ask for the proofs.
async fn prove(order: &mut Order) -> Result<()> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(said)?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(ChallengeType::Http01)
        {
            challenge.set_ready().await.map_err(said)?;
        }
    }
    let error = match order.poll_ready(&RetryPolicy::default()).await {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => return Ok(()),
        Ok(status) => anyhow!("the order is {status:?}"),
        Err(error) => said(error),
    };
    let refusals = refusals(order).await?;
    match refusals.is_empty() {
        true => Err(error),
        false => bail!(
            "{}\nhint: each host has to lead to this mirror on port 80, where it answers without TLS",
            refusals.join("; ")
        ),
    }
}

/// The hosts that could not be proven, each with the server's words.
async fn refusals(order: &mut Order) -> Result<Vec<String>> {
    let mut refusals = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(said)?;
        let state = authorization.refresh().await.map_err(said)?;
        let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        let details = problems.filter_map(|problem| problem.detail.as_ref());
        refusals.extend(details.map(|detail| format!("{}: {detail}", state.identifier())));
    }
    Ok(refusals)
}

/// Without the prefix of the library.
fn said(error: Error) -> anyhow::Error {
    match error {
        Error::Api(problem) => match problem.detail {
            Some(detail) => anyhow!(detail),
            None => anyhow!(problem),
        },
        error => error.into(),
    }
}
