//! What a run is made of: the processes, the lines between them, and who listens. Owned outside the story, so that
//! an interrupted one still ends its children in order.

use crate::demo::consumer::Consumer;
use crate::demo::link::Link;
use crate::demo::outcome::Account;
use crate::demo::plan::Plan;
use crate::demo::plant::{Recipe, Role, cloud_config, edge_config, free_port};
use crate::demo::sensors::Counts;
use anyhow::Context as _;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One gateway with its line.
#[derive(Debug)]
pub struct Gateway {
    /// How to start it.
    pub recipe: Recipe,
    /// Its process, unless it is dead.
    pub role: Option<Role>,
    /// Port of its broker, the same for life.
    pub port: u16,
    /// Its line to the cloud.
    pub link: Link,
    /// What its machines did.
    pub counts: Arc<Counts>,
    /// An ear at its own broker.
    pub ear: Consumer,
    /// Its status, as it was asked for last.
    pub status: Value,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Stage {
    /// The bridge.
    pub cloud: Option<Role>,
    /// The gateways.
    pub gateways: Vec<Gateway>,
    /// The consumer at the cloud.
    pub consumer: Option<Consumer>,
}

impl Stage {
    /// Starts the bridge and its consumer.
    pub async fn raise_cloud(&mut self, folder: &Path) -> anyhow::Result<()> {
        let recipe = Recipe { name: "the cloud bridge".into(), role: "cloud", dir: folder.join("cloud") };
        recipe.write(&cloud_config(&recipe.data_dir()))?;
        let cloud = recipe.start().await?;
        let port = cloud.mqtt;
        self.cloud = Some(cloud);
        let consumer = Consumer::start("demo-consumer", port, &["merged/#", "alerts/#", "gateways/#"])
            .await
            .context("the consumer cannot subscribe at the cloud")?;
        self.consumer = Some(consumer);
        Ok(())
    }

    /// Starts the gateways, each with its own line to the bridge.
    pub async fn raise_gateways(&mut self, folder: &Path, plan: &Plan) -> anyhow::Result<()> {
        let broker = self.cloud.as_ref().context("the bridge is not there")?.mqtt;
        for name in &plan.gateways {
            let recipe = Recipe { name: name.clone(), role: "edge", dir: folder.join(name) };
            let link = Link::to(broker).await?;
            let port = free_port()?;
            recipe.write(&edge_config(name, &recipe.data_dir(), port, link.port))?;
            let role = recipe.start().await?;
            let ear = format!("demo-ear-{name}");
            let ear = Consumer::start(&ear, port, &["alerts/#"]).await.with_context(|| format!("{name} takes no subscriber"))?;
            let counts = Arc::default();
            self.gateways.push(Gateway { recipe, role: Some(role), port, link, counts, ear, status: Value::Null });
        }
        Ok(())
    }

    /// Asks every gateway that lives how it stands.
    pub async fn ask(&mut self) {
        for gateway in &mut self.gateways {
            let Some(http) = gateway.role.as_ref().map(|role| role.http.clone()) else { continue };
            match tokio::task::spawn_blocking(move || crate::status::of(&http)).await {
                Ok(Ok(status)) => gateway.status = status,
                // It is asked again soon; what was known stays.
                Ok(Err(error)) => tracing::debug!(%error, gateway = gateway.recipe.name, "no status"),
                Err(error) => tracing::debug!(%error, "no status"),
            }
        }
    }

    /// Ends every process in order; what was not clean about it.
    pub async fn lower(&mut self) -> Vec<String> {
        // Gateways first: they take their leave from the cloud.
        let mut ending = tokio::task::JoinSet::new();
        for role in self.gateways.iter_mut().filter_map(|gateway| gateway.role.take()) {
            ending.spawn(role.stop());
        }
        let mut ends = ending.join_all().await;
        if let Some(cloud) = self.cloud.take() {
            ends.push(cloud.stop().await);
        }
        ends.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect()
    }
}

impl Gateway {
    /// Readings that it has yet to deliver, as it said last.
    pub fn held(&self) -> u64 {
        self.ledger("held")
    }

    /// Whether it said that its uplink stands.
    pub fn is_connected(&self) -> bool {
        self.status["connected"] == true
    }

    fn ledger(&self, key: &str) -> u64 {
        self.status["ledger"][key].as_u64().unwrap_or(0)
    }

    /// Its figures.
    pub fn account(&self) -> Account {
        let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
        Account {
            gateway: self.recipe.name.clone(),
            sent: count(&self.counts.sent),
            acknowledged: count(&self.counts.acknowledged),
            resent: count(&self.counts.resent),
            accepted: self.ledger("accepted"),
            delivered: self.ledger("delivered"),
            held: self.ledger("held"),
            shed: self.ledger("shed"),
            local: self.ledger("local"),
            duplicates: self.ledger("duplicates"),
            uplink_bytes: self.link.bytes(),
            raw_bytes: count(&self.counts.raw_bytes),
        }
    }
}
