//! Subscribers: the consumer at the cloud, whose windows are compared in the end, and an ear at each gateway.

use crate::demo::compare::{Held, Key};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Bytes of one message.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(50);

/// An alert as a subscriber got it.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Its identity.
    pub id: String,
    /// Gateway that raised it.
    pub gateway: String,
    /// Series it is about.
    pub series: String,
    /// Its kind.
    pub kind: String,
    /// How bad.
    pub severity: String,
    /// Whether it began; else it was cleared.
    pub active: bool,
    /// When, ms since the Unix epoch, by the readings.
    pub time_ms: i64,
    /// What it says.
    pub message: String,
    /// When it came, ms since the Unix epoch.
    pub came_ms: i64,
}

impl Alert {
    fn read(alert: &Value) -> Option<Self> {
        let text = |key: &str| alert[key].as_str().map(str::to_owned);
        Some(Self {
            id: text("id")?,
            gateway: text("gateway")?,
            series: text("series")?,
            kind: text("kind")?,
            severity: text("severity")?,
            active: text("state")? == "active",
            time_ms: alert["time"].as_i64()?,
            message: text("message")?,
            came_ms: wall_ms(),
        })
    }
}

/// What a subscriber has to tell.
#[derive(Debug, Clone)]
pub enum News {
    /// An alert, for the first time.
    Alert(Alert),
    /// A merged window, and what was held of it before.
    Window(Key, Held, Option<Held>),
    /// A gateway went on- or offline, as the cloud sees it.
    Presence(String, bool),
}

/// All that a subscriber got.
#[derive(Debug, Default)]
pub struct Holdings {
    /// Newest revision of each window.
    pub windows: BTreeMap<Key, Held>,
    /// How often a window was published again.
    pub revisions: u64,
    /// Each alert by id, and how often it came.
    pub alerts: BTreeMap<String, (Alert, u64)>,
    /// Messages that are not what the contract says.
    pub strange: Vec<String>,
    online: BTreeMap<String, bool>,
}

impl Holdings {
    /// Takes one message; what is new in it.
    fn take(&mut self, topic: &str, payload: &[u8]) -> Option<News> {
        let value = serde_json::from_slice::<Value>(payload).unwrap_or_default();
        let news = match topic.split('/').next() {
            Some("merged") => Held::read(&value).map(|(key, held)| self.window(key, held)),
            Some("alerts") => Alert::read(&value).map(|alert| self.alert(alert)),
            Some("gateways") => value["gateway"].as_str().zip(value["online"].as_bool()).map(|(name, online)| {
                let before = self.online.insert(name.to_owned(), online);
                (before != Some(online)).then(|| News::Presence(name.to_owned(), online))
            }),
            _ => None,
        };
        news.unwrap_or_else(|| {
            self.strange.push(format!("{topic}: {}", String::from_utf8_lossy(&payload[..payload.len().min(200)])));
            None
        })
    }

    fn window(&mut self, key: Key, held: Held) -> Option<News> {
        let before = self.windows.get(&key).cloned();
        if before.as_ref().is_some_and(|before| before.revision > held.revision) {
            self.strange.push(format!("{key}: revision {} came after a later one", held.revision));
            return None;
        }
        self.revisions += u64::from(before.is_some());
        self.windows.insert(key.clone(), held.clone());
        Some(News::Window(key, held, before))
    }

    fn alert(&mut self, alert: Alert) -> Option<News> {
        let (_, times) = self.alerts.entry(alert.id.clone()).or_insert_with(|| (alert.clone(), 0));
        *times += 1;
        (*times == 1).then_some(News::Alert(alert))
    }
}

/// A subscriber; it ends with its owner.
#[derive(Debug)]
pub struct Consumer {
    /// What it holds.
    pub holdings: Arc<Mutex<Holdings>>,
    news: mpsc::UnboundedReceiver<News>,
    listening: tokio::task::JoinHandle<()>,
}

impl Consumer {
    /// Subscribes at a broker, and again whenever the connection broke; returns once the subscription stands.
    pub async fn start(id: &str, port: u16, filters: &'static [&'static str]) -> anyhow::Result<Self> {
        // Not bounded: it holds what the demo has not told yet, and a demo ends.
        let (tell, news) = mpsc::unbounded_channel();
        let (ready, mut standing) = watch::channel(false);
        let holdings = Arc::new(Mutex::new(Holdings::default()));
        let listening = tokio::spawn(listen(id.to_owned(), port, filters, holdings.clone(), tell, ready));
        let consumer = Self { holdings, news, listening };
        tokio::time::timeout(Duration::from_secs(10), standing.wait_for(|up| *up)).await??;
        Ok(consumer)
    }

    /// What it has to tell next; waits for it.
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// What it has to tell next, if there is something.
    pub fn try_next(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(
    id: String,
    port: u16,
    filters: &'static [&'static str],
    holdings: Arc<Mutex<Holdings>>,
    tell: mpsc::UnboundedSender<News>,
    ready: watch::Sender<bool>,
) {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX).set_keep_alive(Duration::from_secs(10));
    let (client, mut mqtt) = AsyncClient::new(options, filters.len());
    loop {
        match mqtt.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let all = filters.iter().map(|filter| rumqttc::SubscribeFilter::new((*filter).to_owned(), QoS::AtLeastOnce));
                if client.subscribe_many(all).await.is_err() {
                    return;
                }
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.send_replace(true)),
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let news = holdings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take(&publish.topic, &publish.payload);
                if news.is_some_and(|news| tell.send(news).is_err()) {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "a subscriber lost its broker");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Now, ms since the Unix epoch.
pub fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_alert_is_news_once_and_every_repeat_is_counted() {
        let mut holdings = Holdings::default();
        let alert = json!({"id": "plant-a/1/2/0", "gateway": "plant-a", "series": "s", "severity": "critical", "kind": "high-high",
                           "state": "active", "time": 5, "value": 97.2, "message": "m"});
        let mut take = |value: &Value| holdings.take("alerts/critical/plant-a/s", value.to_string().as_bytes()).is_some();
        assert!(take(&alert) && !take(&alert));
        assert_eq!(holdings.alerts["plant-a/1/2/0"].1, 2);
        assert!(holdings.strange.is_empty());
    }

    #[test]
    fn a_later_revision_stays_and_what_is_no_window_is_kept_as_strange() {
        let mut holdings = Holdings::default();
        let merged = |count: u64, revision: u64| {
            json!({"series": "s", "window": "2s", "start": 0, "end": 2_000, "count": count, "sum": 1.0, "min": 1.0, "max": 1.0, "gateways": {},
                   "revision": revision, "complete": false})
            .to_string()
        };
        assert!(matches!(holdings.take("merged/2s/s", merged(1, 1).as_bytes()), Some(News::Window(_, _, None))));
        assert!(matches!(holdings.take("merged/2s/s", merged(2, 2).as_bytes()), Some(News::Window(_, _, Some(_)))));
        assert!(holdings.take("merged/2s/s", merged(1, 1).as_bytes()).is_none());
        assert_eq!((holdings.windows.values().next().unwrap().count, holdings.revisions, holdings.strange.len()), (2, 1, 1));
        assert!(holdings.take("merged/2s/s", b"{}").is_none());
        assert_eq!(holdings.strange.len(), 2);
    }
}
