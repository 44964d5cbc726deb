//! POST /webhook/zabbix: a signed Zabbix notification becomes a StatusChanged on the bus.

fn main() {}
