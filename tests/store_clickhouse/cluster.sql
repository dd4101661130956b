CREATE DATABASE IF NOT EXISTS `headrace_rows`;

CREATE TABLE IF NOT EXISTS `headrace_rows`.`users` (_v UInt64, _deleted UInt8, `user_id` Nullable(String), `identity` Nullable(String), `email` Nullable(String), `contact_id` Nullable(String), `lead_id` Nullable(String), `account_id` Nullable(String), `owner_id` Nullable(String), `first_seen` Nullable(DateTime64(6, 'UTC')), `updated_at` Nullable(DateTime64(6, 'UTC')), `is_deleted` Nullable(Bool), `sfdc_opportunity_count` Nullable(Int64), `sfdc_opportunity_open_count` Nullable(Int64), `sfdc_opportunity_open_amount` Nullable(Decimal(18, 2)), `sfdc_opportunity_won_count` Nullable(Int64), `sfdc_opportunity_won_amount` Nullable(Decimal(18, 2))) ENGINE = ReplacingMergeTree(_v, _deleted) ORDER BY (`user_id`) SETTINGS allow_nullable_key = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS `headrace_rows`.`everywhere.users` AS `headrace_rows`.`users` ENGINE = Distributed('people', 'headrace_rows', 'users', cityHash64(ifNull(user_id, '')));

CREATE OR REPLACE VIEW `crm`.`users` AS SELECT `user_id`, `identity`, `email`, `contact_id`, `lead_id`, `account_id`, `owner_id`, `first_seen`, `updated_at`, `is_deleted`, `sfdc_opportunity_count`, `sfdc_opportunity_open_count`, `sfdc_opportunity_open_amount`, `sfdc_opportunity_won_count`, `sfdc_opportunity_won_amount` FROM `headrace_rows`.`everywhere.users` FINAL WHERE NOT _deleted COMMENT 'headrace';

CREATE TABLE IF NOT EXISTS `headrace_rows`.`events` (_v UInt64, _deleted UInt8, `event_id` Nullable(String), `time` Nullable(DateTime64(6, 'UTC')), `name` Nullable(String), `user_id` Nullable(String), `account_id` Nullable(String), `source` Nullable(String), `object` Nullable(String), `record_id` Nullable(String), `actor_id` Nullable(String), `origin` Nullable(String), `seen_at` Nullable(DateTime64(6, 'UTC')), `stored_at` Nullable(DateTime64(6, 'UTC')), `properties` Nullable(String), `alias` Nullable(String)) ENGINE = ReplacingMergeTree(_v, _deleted) ORDER BY (`user_id`, `event_id`) SETTINGS allow_nullable_key = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS `headrace_rows`.`everywhere.events` AS `headrace_rows`.`events` ENGINE = Distributed('people', 'headrace_rows', 'events', cityHash64(coalesce(user_id, event_id, '')));

CREATE OR REPLACE VIEW `crm`.`events` AS SELECT `event_id`, `time`, `name`, `user_id`, `account_id`, `source`, `object`, `record_id`, `actor_id`, `origin`, `seen_at`, `stored_at`, `properties`, `alias` FROM `headrace_rows`.`everywhere.events` FINAL WHERE NOT _deleted COMMENT 'headrace';

CREATE TABLE IF NOT EXISTS `headrace_rows`.`changes` (_v UInt64, _deleted UInt8, `event_id` Nullable(String), `time` Nullable(DateTime64(6, 'UTC')), `object` Nullable(String), `record_id` Nullable(String), `user_id` Nullable(String), `account_id` Nullable(String), `field` Nullable(String), `property` Nullable(String), `old_value` Nullable(String), `new_value` Nullable(String), `actor_id` Nullable(String), `origin` Nullable(String), `alias` Nullable(String)) ENGINE = ReplacingMergeTree(_v, _deleted) ORDER BY (`user_id`, `event_id`, `field`) SETTINGS allow_nullable_key = 1, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS `headrace_rows`.`everywhere.changes` AS `headrace_rows`.`changes` ENGINE = Distributed('people', 'headrace_rows', 'changes', cityHash64(coalesce(user_id, event_id, '')));

CREATE OR REPLACE VIEW `crm`.`changes` AS SELECT `event_id`, `time`, `object`, `record_id`, `user_id`, `account_id`, `field`, `property`, `old_value`, `new_value`, `actor_id`, `origin`, `alias` FROM `headrace_rows`.`everywhere.changes` FINAL WHERE NOT _deleted COMMENT 'headrace';
