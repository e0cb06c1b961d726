-- Run by postgres-node at every start of a primary.
\set ON_ERROR_STOP on
select 'create role replicator' where not exists (select from pg_roles where rolname = 'replicator') \gexec
alter role replicator with login replication password '${REPLICATION_PASSWORD:?the password of the replicas, from a secret}';
select 'create role app' where not exists (select from pg_roles where rolname = 'app') \gexec
alter role app with login password '${APP_PASSWORD:?the password of the role app, from a secret}';
select 'create database app owner app' where not exists (select from pg_database where datname = 'app') \gexec
