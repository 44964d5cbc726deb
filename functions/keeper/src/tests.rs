use std::sync::Mutex;

use signalbox_connections::{
    Admission, Admit, Authenticate, Authentication, Client, bucket_of,
    testing::{Tables, Verdict},
};
use signalbox_lambda::now_ms;
use signalbox_publishing::Recorded;

use super::*;

const MINUTE: &str = include_str!("../../../events/keeper/minute.json");

struct World {
    tables: Tables,
    posts: Arc<Recorded>,
    state: State,
}

async fn world() -> World {
    let tables = Tables::start().await;
    let posts = Arc::new(Recorded::default());
    let channels = r#"{"channel": {"namespaces": [{"name": "news", "history_size": 10, "history_ttl": "60s"}]}}"#;
    let publisher = Publisher::new(tables.table.clone(), Gateway::Recorded(posts.clone()))
        .with_channels(Arc::new(ChannelsConfig::parse(channels).unwrap()));
    World { tables, posts, state: State { publisher } }
}

impl World {
    async fn admit(&self, id: &str, ago_s: i64) {
        let now_s = now_ms() / 1000 - ago_s;
        let admit = Admit { id, now_s, source_ip: None, stale_after: Duration::from_secs(10), per_address_limit: 0 };
        assert_eq!(self.tables.table.admit(&admit).await.unwrap(), Admission::Admitted);
    }

    async fn connect(&self, id: &str, expires_at: Option<i64>) {
        self.admit(id, 0).await;
        let client = Client { user: "anna".to_owned(), client: format!("client-{id}"), info: None, expires_at };
        let expired_close_delay = Duration::ZERO;
        let now_s = now_ms() / 1000;
        let authenticate = Authenticate { id, client, user_connection_limit: 0, expired_close_delay, now_s };
        let authenticated = self.tables.table.authenticate(&authenticate).await.unwrap();
        assert!(matches!(authenticated, Authentication::Accepted(_)), "{authenticated:?}");
    }

    async fn is_there(&self, id: &str) -> bool {
        self.tables.table.connection(id).await.unwrap().is_some()
    }
}

fn tick() -> Tick {
    serde_json::from_str(MINUTE).unwrap()
}

/// A connection id of the bucket.
fn of_bucket(bucket: u32) -> String {
    (0..1000).map(|n| format!("connection-{n}")).find(|id| bucket_of(id) == bucket).unwrap()
}

#[tokio::test]
async fn each_bucket_has_its_minute_and_eight_minutes_have_them_all() {
    let at = |minute: i64| Tick { time: tick().time + jiff::SignedDuration::from_mins(minute) };
    let buckets: std::collections::BTreeSet<_> = (0..8).map(|minute| at(minute).bucket()).collect();
    assert_eq!(buckets.len(), 8);
    assert_eq!(at(0).bucket(), at(8).bucket());
    // over the end of an hour and of a day
    assert_ne!(at(35).bucket(), at(36).bucket());
}

#[tokio::test]
async fn one_bucket_is_pinged_and_no_other() {
    let world = world().await;
    let (awake, other) = (of_bucket(tick().bucket()), of_bucket((tick().bucket() + 1) % BUCKETS));
    world.connect(&awake, None).await;
    world.connect(&other, None).await;
    handle(&world.state, tick()).await.unwrap();
    assert_eq!(world.posts.frames(&awake), ["{}"]);
    assert!(world.posts.frames(&other).is_empty());
}

#[tokio::test]
async fn a_socket_that_never_connected_and_a_token_that_ended_are_sent_away() {
    let world = world().await;
    world.admit("silent", 11).await;
    world.admit("still-new", 0).await;
    world.connect("expired", Some(now_ms() / 1000 - 60)).await;
    handle(&world.state, tick()).await.unwrap();
    let code = |id: &str| {
        let lines = world.posts.lines(id);
        lines.iter().find_map(|line| line.pointer("/push/disconnect/code")).and_then(serde_json::Value::as_u64)
    };
    assert_eq!(code("silent"), Some(3502));
    assert_eq!(code("expired"), Some(3005));
    assert_eq!(code("still-new"), None);
    assert!(!world.is_there("silent").await && !world.is_there("expired").await && world.is_there("still-new").await);
}

#[tokio::test]
async fn what_a_dead_deliverer_left_pending_is_delivered() {
    let world = world().await;
    let table = &world.tables.table;
    let long_ago = now_ms() - 60_000;
    let lease = Duration::from_secs(10);
    assert!(table.append("news:all", "dead", long_ago, lease, Duration::from_hours(1)).await.unwrap().held);
    handle(&world.state, tick()).await.unwrap();
    let head = table.find_head("news:all").await.unwrap().unwrap();
    assert_eq!((head.delivered, head.offset, head.holder), (1, 1, None));
}

#[tokio::test]
async fn a_part_that_fails_is_the_invocations_error_and_the_others_are_done() {
    let world = world().await;
    let awake = of_bucket(tick().bucket());
    world.connect(&awake, None).await;
    world.admit("silent", 11).await;
    let refused = Arc::new(Mutex::new(0));
    let counted = refused.clone();
    world.tables.hook(Some(Arc::new(move |request| {
        let counted = counted.clone();
        Box::pin(async move {
            if request.operation == "Query" && request.body.contains("held#") {
                *counted.lock().unwrap() += 1;
                return Verdict::Refuse("ValidationException");
            }
            Verdict::Send
        })
    })));
    let error = handle(&world.state, tick()).await.unwrap_err();
    assert!(format!("{error:#}").contains("query what is due"), "{error:#}");
    assert_eq!(*refused.lock().unwrap(), HELD_SHARDS);
    assert_eq!(world.posts.frames(&awake), ["{}"]);
    assert!(!world.is_there("silent").await);
}

#[test]
fn the_time_out_leaves_time_to_end() {
    let template = include_str!("../../../template.yaml");
    let function = template.split("\n  KeeperFunction:").nth(1).unwrap();
    let timeout = function.lines().find_map(|line| line.trim().strip_prefix("Timeout: ")).unwrap();
    assert!(Duration::from_secs(timeout.parse().unwrap()) >= WORK + Duration::from_secs(15));
}
