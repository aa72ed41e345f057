-- A ledger that RUNE wrote when the newest version was 3: one run of noop on two targets.
BEGIN TRANSACTION;
CREATE TABLE event (
  run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  time TEXT NOT NULL,
  kind TEXT NOT NULL,
  target INTEGER,
  data TEXT,
  PRIMARY KEY (run, seq)
);
INSERT INTO "event" VALUES(1,1,'2026-11-30T15:09:50.102Z','run.started',NULL,'{"action":"noop","targets":2}');
INSERT INTO "event" VALUES(1,2,'2026-11-30T15:09:50.152Z','target.started',0,'{"plugin":"noop","attempt":1}');
INSERT INTO "event" VALUES(1,3,'2026-11-30T15:09:50.153Z','target.started',1,'{"plugin":"noop","attempt":1}');
INSERT INTO "event" VALUES(1,4,'2026-11-30T15:09:50.268Z','target.finished',1,NULL);
INSERT INTO "event" VALUES(1,5,'2026-11-30T15:09:50.284Z','target.finished',0,NULL);
INSERT INTO "event" VALUES(1,6,'2026-11-30T15:09:50.321Z','run.finished',NULL,'{"run_id":"20261130T150949Z-6f83ed86","action":"noop","status":"ok","started_at":"2026-11-30T15:09:50.082Z","finished_at":"2026-11-30T15:09:50.321Z","summary":{"ok":2,"failed":0,"unreachable":0,"timed_out":0,"invalid_output":0,"cancelled":0,"lost":0,"skipped":0}}');
CREATE TABLE result (
  run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
  position INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (run, position)
);
INSERT INTO "result" VALUES(1,1,'ok',1,'{"target":"n1","outcome":"ok","output_data":{},"error":null,"duration_s":0.09142,"attempt":1,"exit_code":0,"plugin":"noop"}');
INSERT INTO "result" VALUES(1,0,'ok',1,'{"target":"n0","outcome":"ok","output_data":{},"error":null,"duration_s":0.127672,"attempt":1,"exit_code":0,"plugin":"noop"}');
CREATE TABLE run (
  number INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL UNIQUE,
  action TEXT NOT NULL,
  request TEXT NOT NULL,
  secret_params TEXT NOT NULL,
  options TEXT NOT NULL,
  version TEXT NOT NULL,
  who TEXT NOT NULL,
  host TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  pid_space TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_started INTEGER NOT NULL,
  started_at TEXT NOT NULL,
  targets INTEGER NOT NULL,
  finished_at TEXT,
  status TEXT,
  summary TEXT,
  exit_code INTEGER,
  gap TEXT,
  cancel_requested_at TEXT, plan_hash TEXT, approved_by TEXT, idempotency_key TEXT,
  CHECK ((finished_at IS NULL) = (status IS NULL))
);
INSERT INTO "run" VALUES(1,'20261130T150949Z-6f83ed86','noop','{"message_metadata": {"version": "3.0.0", "message_id": "20261130T150949Z-6f83ed86", "created_at": "2026-11-30T15:09:49.692Z"}, "routing": {"event_type": "ACTION_EXECUTE_REQUEST", "source_module": "lom", "action": "noop", "targets": ["n0,n1"]}, "payload": {"schema_version": "3.0.0", "content_type": "application/json", "data": {"input_parameters": {}, "context": {}}}, "observability": {"trace_id": "1387b26606022b338d3d6bb48b845b9c", "span_id": "d0633e5b2a359026"}}','[]','{"timeout_s": null, "concurrency": 64, "batch": null, "max_failures": null, "pause_between_s": 0.0, "confirm_between": false, "deadline_s": null, "retries": 0, "retry_wait_s": 5.0, "on_locked": "wait", "lock_timeout_s": 300.0, "transport": null, "max_stdout": 16777216, "max_stderr": 1048576, "connect_timeout_s": null, "become": null, "on_disconnect": null, "inventory": ["/home/alice/inv.yaml"], "plugin_path": []}','0.1.0','alice','here','00000000-0000-0000-0000-000000000000','pid:[4026531836]',26751,540576,'2026-11-30T15:09:50.082Z',2,'2026-11-30T15:09:50.321Z','ok','{"ok":2,"failed":0,"unreachable":0,"timed_out":0,"invalid_output":0,"cancelled":0,"lost":0,"skipped":0}',0,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE target (
  run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  transport TEXT NOT NULL,
  plugin TEXT,
  started_at TEXT, starts INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (run, position)
);
INSERT INTO "target" VALUES(1,0,'n0','local','noop','2026-11-30T15:09:50.153Z',1);
INSERT INTO "target" VALUES(1,1,'n1','local','noop','2026-11-30T15:09:50.153Z',1);
CREATE UNIQUE INDEX run_by_key ON run (idempotency_key);
COMMIT;
PRAGMA application_id = 1381322309;
PRAGMA user_version = 3;
