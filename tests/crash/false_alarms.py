"""Uses of an effect's word that change nothing lasting; of each, why."""

_OURS = "a step of our own: what lasts in it is a site by itself"
_LIST = "a list in memory"
_MEMORY = "counted in memory"

FALSE_ALARMS: dict[str, str] = {
    # a process's own numbers
    "metrics.add": "a count of this process, gone with it",
    "metrics.set": "a gauge of this process, gone with it",
    "telemetry.metrics: labelled.set": "a gauge of this process, gone with it",
    # our own objects
    "adapters.cache: room.reserve": _MEMORY,
    "adapters.cache_incoming: room.reserve": _MEMORY,
    "adapters.media_transfer: file.write": _OURS,
    "adapters.media_http: transfer.finish": _OURS,
    "services.sweep: self.sweep": _OURS,
    "services.upload: uploaded.add": "remembered in memory; what is forgotten the sweeper finds",
    "adapters.transport: QoS.ack": "what this worker has out, counted in its memory",
    "cli.main: open": "the null device",
    "services.write: held.add": _LIST,
    "services.lease: self.give_back": _OURS,
    "services.held: items.extend": _LIST,
    "processes: steps.add": "a step of the worker's start",
    "processes: options.auth": "a setting of Flower, read",
    "services.write: held.release": _OURS,
    "services.write: self.flush": _OURS,
    "services.write: tables.write": _OURS,
    "tasks.operations: claimx_sweeper.sweep": _OURS,
    "services.settle: judging.retry": "the policy, asked",
    "services.reconcile.run: admission.admit": _OURS,
    "services.reconcile.run: admitted.update": _MEMORY,
    "services.reconcile.run: report.add": _MEMORY,
    "services.reconcile.report: known.add": _MEMORY,
    "adapters.lake.delta: large.append": _OURS,
    "adapters.lake.delta: large.maintain": _OURS,
    "adapters.lake.large: logs.append": _OURS,
    "adapters.lake.files: cut.replace": "a time without its last digits",
    "adapters.http: asked.replace": "a time with its zone",
    "cli.tables: keeper.fold": _OURS,
    "cli.source: report.set_aside": "a part of the report",
    "cli.status: found.circuits": "a part of the status",
    "cli.status: found.processes": "a part of the status",
    # plain data that the source does not prove to be plain
    "adapters.lake.deciding: inserted.append": _LIST,
    "adapters.lake.deciding: updated.append": _LIST,
    "adapters.lake.names: inserted.append": _LIST,
    "adapters.lake.names: updated.append": _LIST,
    "services.pages: fresh.append": _LIST,
    "domain.reader: unconverted.update": _MEMORY,
    # tables of functions
    "domain.reader: converters[]": "converters of values",
    "domain.refusal: CHECKS[]": "checks of values",
    # locks, connections and answers of one process
    "adapters.lake.change_log: handle.lock": "a lock between threads",
    "adapters.lake.delta: handle.lock": "a lock between threads",
    "adapters.lake.handles: handle.lock": "a lock between threads",
    "adapters.lake.large: handle.lock": "a lock between threads",
    "adapters.lake.names: handle.lock": "a lock between threads",
    "adapters.lake.upkeep: handle.lock": "a lock between threads",
    "adapters.ticking: scheduler.lock": "the lock's object; taking it is a site",
    "adapters.hints: producer_pool.acquire": "a connection, borrowed",
    "tasks.base: self.request": "the message that the task runs for",
    "redis_clients: redis_of.ping": "a question; the ledger's writes a key, this one does not",
    "processes: client.ping": "the same question, handed on",
    "processes: scheduler.lock": "whether there is one",
    "telemetry.health: wfile.write": "the answer to a probe",
    "telemetry.health: server.shutdown": "the probes' server",
}
