//! Zabbix payloads and the status model.
