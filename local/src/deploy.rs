//! `sam deploy` of template.yaml into MiniStack, and what MiniStack drops from it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Interrupt, StartError,
    aws::{ACCESS_KEY, Aws, REGION, SECRET_KEY, elements, unescaped},
    functions::Bundle,
    process::{last_error_line, run},
    python::Tools,
    state::State,
};

const STACK: &str = "signalbox";
const BUCKET: &str = "signalbox-deployments";

/// Parameters of template.yaml.
pub(crate) type Parameters = BTreeMap<String, String>;
/// Outputs of template.yaml.
pub(crate) type Outputs = BTreeMap<String, String>;

/// Changes when a parameter does.
pub(crate) fn digest(parameters: &Parameters) -> String {
    let text = serde_json::to_vec(parameters).unwrap_or_default();
    hex::encode(Sha256::digest(text))[..16].to_owned()
}

/// What the last deploy left, to tell whether it is still there.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Deployed {
    digest: String,
    stack: String,
    at: String,
}

#[derive(Debug)]
struct Stack {
    id: String,
    status: String,
    /// When it was last changed.
    at: String,
    outputs: Outputs,
}

impl Stack {
    async fn find(aws: &Aws) -> Option<Self> {
        let xml = aws.cloudformation("DescribeStacks", STACK).await.ok()?;
        let one = |name| elements(&xml, name).first().map(|text| unescaped(text));
        let keys = elements(&xml, "OutputKey").into_iter().map(unescaped);
        let values = elements(&xml, "OutputValue").into_iter().map(unescaped);
        Some(Self {
            id: one("StackId")?,
            status: one("StackStatus")?,
            at: one("LastUpdatedTime").or_else(|| one("CreationTime"))?,
            outputs: keys.zip(values).collect(),
        })
    }

    fn is_whole(&self) -> bool {
        matches!(self.status.as_str(), "CREATE_COMPLETE" | "UPDATE_COMPLETE") && !self.outputs.is_empty()
    }
}

/// The outputs of the stack if it is there as this bundle would make it: then nothing needs to be deployed.
pub(crate) async fn unchanged(aws: &Aws, state: &State, bundle: &Bundle, parameters: &Parameters) -> Option<Outputs> {
    let known: Deployed = state.read_json("deployed.json")?;
    let stack = Stack::find(aws).await?;
    let same = Deployed { digest: full_digest(bundle, parameters), stack: stack.id.clone(), at: stack.at.clone() };
    (stack.is_whole() && known == same && parts_are_there(aws, &stack.outputs).await).then_some(stack.outputs)
}

fn full_digest(bundle: &Bundle, parameters: &Parameters) -> String {
    format!("{}-{}", bundle.digest, digest(parameters))
}

/// Did MiniStack restore what the stack consists of, and not only its name?
async fn parts_are_there(aws: &Aws, outputs: &Outputs) -> bool {
    let output = |name: &str| outputs.get(name).cloned().unwrap_or_default();
    for table in ["ConnectionTableName", "StatusTableName"] {
        let describe = json!({ "TableName": output(table) });
        if aws.json("dynamodb", "DynamoDB_20120810.DescribeTable", describe).await.is_err() {
            return false;
        }
    }
    for api in ["WebSocketApiId", "HttpApiId"] {
        let routes = aws.rest("apigateway", Method::GET, &format!("/v2/apis/{}/routes", output(api)), None).await;
        if !routes.is_ok_and(|routes| count(&routes, "items") >= 3) {
            return false;
        }
    }
    let mappings = aws.rest("lambda", Method::GET, "/2015-03-31/event-source-mappings/", None).await;
    let rules = json!({ "EventBusName": output("EventBusName") });
    let rules = aws.json("events", "AWSEvents.ListRules", rules).await;
    mappings.is_ok_and(|mappings| count(&mappings, "EventSourceMappings") >= 2)
        && rules.is_ok_and(|rules| count(&rules, "Rules") >= 2)
}

fn count(answer: &Value, field: &str) -> usize {
    answer[field].as_array().map_or(0, Vec::len)
}

/// What `sam deploy` needs beside the cloud.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deploy<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) state: &'a State,
    pub(crate) aws: &'a Aws,
    pub(crate) bundle: &'a Bundle,
    pub(crate) parameters: &'a Parameters,
    pub(crate) interrupt: &'a Interrupt,
}

impl Deploy<'_> {
    /// Deploys, and gives the stack's outputs.
    pub(crate) async fn run(self) -> Result<Outputs, StartError> {
        let Self { state, aws, .. } = self;
        let trouble = |error: anyhow::Error| StartError::failed("deploying", format!("{error:#}"));
        self.clear_the_way().await.map_err(trouble)?;
        aws.make_bucket(BUCKET).await.map_err(trouble)?;
        let log = state.log("sam-deploy");
        let deployed = self.sam(&log);
        let stack = Stack::find(aws).await;
        if let Err(error) = deployed {
            if self.interrupt.is_raised() {
                return Err(error);
            }
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let (reason, remedy) = match self.failed_resource().await {
                Some(reason) => (reason, format!("functions log to {}", state.log("ministack").display())),
                None => {
                    (sam_error(&text).unwrap_or_else(|| error.to_string()), "correct it and start again".to_owned())
                }
            };
            return Err(StartError::new(format!("deploying template.yaml failed: {reason}"), remedy).with_log(log));
        }
        let stack = stack.filter(Stack::is_whole).ok_or_else(|| {
            StartError::failed("deploying template.yaml", "the stack is not complete afterwards").with_log(&log)
        })?;
        let deployed = Deployed { digest: full_digest(self.bundle, self.parameters), stack: stack.id, at: stack.at };
        state
            .write_json("deployed.json", &deployed)
            .map_err(|error| StartError::failed("writing deployed.json", error))?;
        Ok(stack.outputs)
    }

    fn sam(self, log: &std::path::Path) -> Result<(), StartError> {
        let Self { tools, state, aws, bundle, parameters, interrupt } = self;
        // A file and not arguments: values may hold anything, and `ps` shows arguments. JSON is YAML.
        let file = state.path("build/parameters.yaml");
        let text = serde_json::to_vec(parameters).unwrap_or_default();
        crate::state::write_atomically(&file, &text)
            .map_err(|error| StartError::failed("writing the parameters", error))?;
        let mut sam = tools.sam();
        sam.arg("deploy").arg("--template-file").arg(&bundle.template).args([
            "--stack-name",
            STACK,
            "--region",
            REGION,
            "--s3-bucket",
            BUCKET,
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--no-progressbar",
            "--capabilities",
            "CAPABILITY_IAM",
            "CAPABILITY_NAMED_IAM",
            "CAPABILITY_AUTO_EXPAND",
            "--parameter-overrides",
        ]);
        sam.arg(format!("file://{}", file.display()));
        sam.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            sam.env("PATH", path);
        }
        sam.env("HOME", state.path("tmp"))
            .env("TMPDIR", state.path("tmp"))
            .env("LANG", "C.UTF-8")
            .env("COLUMNS", "200")
            .env("AWS_ENDPOINT_URL", aws.endpoint())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("SAM_CLI_TELEMETRY", "0")
            // SAM asks the stack for its state this often; the default is half a second.
            .env("SAM_CLI_POLL_DELAY", "0.2")
            .current_dir(state.path("build"));
        run(&mut sam, "sam deploy", log, interrupt)
    }

    /// A stack whose creation failed, or was cut short, can only be deleted.
    async fn clear_the_way(self) -> Result<()> {
        // MiniStack does not go on with what was in progress when it stopped.
        let stuck = |status: &str| {
            status.ends_with("_IN_PROGRESS")
                || ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"].contains(&status)
        };
        if !Stack::find(self.aws).await.is_some_and(|stack| stuck(&stack.status)) {
            return Ok(());
        }
        self.aws.cloudformation("DeleteStack", STACK).await?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while Stack::find(self.aws).await.is_some_and(|stack| stack.status != "DELETE_COMPLETE") {
            if Instant::now() > deadline {
                anyhow::bail!("the stack of an earlier start cannot be deleted; begin anew with --fresh");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Which resource failed first in this deploy, and why.
    async fn failed_resource(self) -> Option<String> {
        let xml = self.aws.cloudformation("DescribeStackEvents", STACK).await.ok()?;
        failure(&xml)
    }
}

/// The failed resource in a list of stack events (newest first). What failed only because something else did is left out.
fn failure(xml: &str) -> Option<String> {
    let mut found = None;
    for event in elements(xml, "member") {
        let one = |name| elements(event, name).first().map(|text| unescaped(text)).unwrap_or_default();
        let (resource, status, reason) = (one("LogicalResourceId"), one("ResourceStatus"), one("ResourceStatusReason"));
        // Where this deploy began.
        if resource == STACK && matches!(status.as_str(), "CREATE_IN_PROGRESS" | "UPDATE_IN_PROGRESS") {
            break;
        }
        if status.ends_with("_FAILED") && !reason.to_ascii_lowercase().contains("cancel") && resource != STACK {
            found = Some(format!("{resource}: {reason}"));
        }
    }
    found
}

/// The error in what sam printed.
fn sam_error(text: &str) -> Option<String> {
    let error = text.find("Error: ").map(|at| &text[at + "Error: ".len()..]);
    // Such a message may go on over several lines, up to an empty one.
    let error = error.map(|rest| rest.split("\n\n").next().unwrap_or(rest).to_owned());
    error.or_else(|| last_error_line(text).map(str::to_owned))
}

/// Sets what MiniStack drops from the template without a word: the tables' TTL and the HTTP API's CORS.
pub(crate) async fn set_what_is_dropped(aws: &Aws, outputs: &Outputs, origins: &[String]) -> Result<()> {
    let output = |name: &str| outputs.get(name).with_context(|| format!("template.yaml has no output {name}"));
    for table in ["ConnectionTableName", "StatusTableName"] {
        let table = output(table)?;
        let known = aws.json("dynamodb", "DynamoDB_20120810.DescribeTimeToLive", json!({ "TableName": table })).await?;
        if known["TimeToLiveDescription"]["TimeToLiveStatus"] != "ENABLED" {
            let wanted =
                json!({ "TableName": table, "TimeToLiveSpecification": { "AttributeName": "ttl", "Enabled": true } });
            aws.json("dynamodb", "DynamoDB_20120810.UpdateTimeToLive", wanted).await?;
        }
    }
    // As HttpApi has it in template.yaml.
    let cors = json!({ "corsConfiguration": {
        "allowOrigins": origins, "allowMethods": ["GET"], "allowHeaders": ["authorization", "content-type", "x-api-key"], "exposeHeaders": ["link"], "maxAge": 3600,
    } });
    aws.rest("apigateway", Method::PATCH, &format!("/v2/apis/{}", output("HttpApiId")?), Some(cors)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(resource: &str, status: &str, reason: &str) -> String {
        format!(
            "<member><LogicalResourceId>{resource}</LogicalResourceId><ResourceStatus>{status}</ResourceStatus>\
             <ResourceStatusReason>{reason}</ResourceStatusReason></member>"
        )
    }

    #[test]
    fn the_resource_that_failed_first_in_this_deploy_is_named() {
        let newest_first = [
            event("signalbox", "ROLLBACK_COMPLETE", ""),
            event("Other", "CREATE_FAILED", "Resource creation cancelled"),
            event("Second", "CREATE_FAILED", "because of the first"),
            event("First", "CREATE_FAILED", "no such &lt;queue&gt;"),
            event("signalbox", "CREATE_IN_PROGRESS", ""),
            event("Older", "CREATE_FAILED", "long ago"),
        ]
        .concat();
        assert_eq!(failure(&newest_first).as_deref(), Some("First: no such <queue>"));
        assert_eq!(failure(&event("signalbox", "UPDATE_COMPLETE", "")), None);
    }

    #[test]
    fn the_error_that_sam_prints_is_found() {
        let text =
            "Deploying with following values\n\nError: Failed to create changeset:\nUnresolved parameter\n\nbye\n";
        assert_eq!(sam_error(text).as_deref(), Some("Failed to create changeset:\nUnresolved parameter"));
    }

    #[test]
    fn another_parameter_is_another_digest() {
        let one = Parameters::from([("ApiKey".to_owned(), "a".to_owned())]);
        let other = Parameters::from([("ApiKey".to_owned(), "b".to_owned())]);
        assert_ne!(digest(&one), digest(&other));
        assert_eq!(digest(&one), digest(&one.clone()));
    }
}
