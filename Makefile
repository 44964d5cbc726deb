# What `sam build` runs: build-<LogicalId> for each function of template.yaml, here at the root of the repository.
#
# All functions are compiled by one cargo call, the first; the others find everything fresh. (SAM's own rust-cargolambda
# would call cargo once per package, which resolves features per package and compiles dependencies again, and it has no
# place for channels.json.) cargo-lambda links with zig against the glibc of Amazon Linux, for either architecture.
#
# SAM does not tell a Makefile the architecture. For x86_64:
#   ARCHITECTURE=x86_64 sam build && sam deploy --parameter-overrides Architecture=x86_64
ARCHITECTURE ?= arm64
LAMBDA_DIR   := $(or $(CARGO_TARGET_DIR),target)/lambda

TARGET_arm64  := --arm64
TARGET_x86_64 := --x86-64
TARGET        := $(or $(TARGET_$(ARCHITECTURE)),$(error ARCHITECTURE must be arm64 or x86_64))

# At a fixed address the loader has 27,000 places fewer to correct before a function starts (docs/adr/0016)
FLAGS := $(RUSTFLAGS) -C relocation-model=static

FUNCTIONS := ws-connect ws-disconnect ws-default zabbix-webhook zabbix-connector zabbix-poller zabbix-acknowledge status-router api keeper fanout recorder query migrate

# A function with channels that it cannot read does not start: better no build.
.PHONY: channels
channels:
	cargo local check-channels channels.json

.PHONY: functions
functions: channels
	@# SAM shows standard output as it comes and keeps the other for the end
	RUSTFLAGS="$(FLAGS)" cargo lambda build --release --locked $(TARGET) $(addprefix --package ,$(FUNCTIONS)) 2>&1

# $(1) logical id, $(2) function, $(3) files that lie beside the binary
define function
.PHONY: build-$(1)
build-$(1): functions
	cp $$(LAMBDA_DIR)/$(2)/bootstrap $(3) "$$(ARTIFACTS_DIR)/"
endef

$(eval $(call function,WsConnectFunction,ws-connect,channels.json))
$(eval $(call function,WsDisconnectFunction,ws-disconnect,channels.json))
$(eval $(call function,WsDefaultFunction,ws-default,channels.json))
$(eval $(call function,ZabbixWebhookFunction,zabbix-webhook))
$(eval $(call function,ZabbixConnectorFunction,zabbix-connector))
$(eval $(call function,ZabbixPollerFunction,zabbix-poller))
$(eval $(call function,ZabbixAcknowledgeFunction,zabbix-acknowledge))
$(eval $(call function,StatusRouterFunction,status-router,channels.json))
$(eval $(call function,ApiFunction,api,channels.json))
$(eval $(call function,KeeperFunction,keeper,channels.json))
$(eval $(call function,FanoutFunction,fanout,channels.json))
$(eval $(call function,RecorderFunction,recorder))
$(eval $(call function,QueryFunction,query))
$(eval $(call function,MigrateFunction,migrate))
