"""Celery's settings, with the reason for each (design page, section 4)."""

import sys
from datetime import timedelta

from claimx.adapters import transport
from claimx.adapters.hints import queue_named
from claimx.adapters.redis_client import asking_sentinels
from claimx.redis_clients import broker_url_of, redbeat_of
from claimx.startup import load_settings

settings = load_settings()
transport.install()  # a worker outlives items that are no messages

# --- broker -----------------------------------------------------------------------------------
broker_url = broker_url_of(settings)
broker_connection_retry_on_startup = True  # Redis may come up after us
broker_connection_max_retries = None  # a worker without its broker waits; the log says so
broker_pool_acquire_timeout = 10  # unset, a thread waits for ever for a connection
broker_pool_limit = 8  # hosts with few connections (Heroku's plans) run many processes
broker_transport_options = {
    "visibility_timeout": 900,  # > time limit, or a running chunk is handed out twice
    "unacked_restore_interval": 5,  # defaults sweep every 100 s: a killed worker's hint waits
    "unacked_restore_throttle": 1,
    "socket_timeout": 30,  # unset, a publish can hang for ever
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "master_name": settings.redis_master,  # this and the next are for sentinel://
    "sentinel_kwargs": asking_sentinels(),
}

# --- messages ---------------------------------------------------------------------------------
task_serializer = "json"  # an operator must be able to read a message
event_serializer = "json"
result_serializer = "json"
accept_content = ["json"]  # never unpickle what comes from the broker
task_ignore_result = True
result_backend = None  # nobody waits for results: the lake is the result
task_create_missing_queues = False  # a misspelt queue is an error, not a queue nobody reads
task_default_queue = "control"
task_default_exchange = ""  # straight to the queue: a binding can be lost with Redis, a name cannot
task_queues = [
    queue_named(name)
    for name in (
        "poll",
        "ingest",
        "enrich",
        "download",
        "upload",
        "record",
        "control",
        "maintenance",
    )
]
task_routes = {
    "claimx.poll": {"queue": "poll"},
    "claimx.catch_up": {"queue": "poll"},
    "claimx.ingest": {"queue": "ingest"},
    "claimx.enrich": {"queue": "enrich"},
    "claimx.download": {"queue": "download"},
    "claimx.upload": {"queue": "upload"},
    "claimx.record": {"queue": "record"},
    "claimx.redrive": {"queue": "control"},
    "claimx.admin.*": {"queue": "control"},
    "claimx.maintain": {"queue": "maintenance"},
    "claimx.recover": {"queue": "maintenance"},
    "claimx.sweep": {"queue": "maintenance"},
    "claimx.reconcile": {"queue": "maintenance"},
}

# --- execution --------------------------------------------------------------------------------
# claimx.celery for a child that was spawned: it is given the app alone, without its signals
imports = ("claimx.celery", "claimx.tasks.stages", "claimx.tasks.operations")
task_acks_late = True  # a hint leaves the broker when its work is settled
task_retry_on_worker_lost = True  # counted; reject_on_worker_lost would loop for ever
task_soft_time_limit = 540  # the chunk settles what it has and gives the rest back
task_time_limit = 600  # < visibility timeout
task_track_started = False
worker_consumer = "claimx.adapters.consumer:Consumer"  # outlives malformed messages
worker_pool = "prefork"  # solo loses its running task at a soft shutdown
worker_concurrency = 4  # one long download must not hold up the redriver and the poll
worker_prefetch_multiplier = 1  # a hoarding worker starves its neighbours
worker_max_tasks_per_child = 5000  # bounds whatever a library leaks
worker_soft_shutdown_timeout = 20  # of SIGQUIT; SIGTERM is claimx.adapters.leaving_step's
worker_cancel_long_running_tasks_on_connection_loss = True  # the hint is handed out anew
worker_send_task_events = True  # Flower's view; a chunk is one task, so the price is small
worker_hijack_root_logger = False  # claimx.telemetry.logs formats Celery's lines too
worker_redirect_stdouts = False
worker_proc_alive_timeout = 30  # loaded machines fork slowly
task_send_sent_event = False

# --- beat -------------------------------------------------------------------------------------
beat_scheduler = "redbeat.RedBeatScheduler"  # one of several beats ticks, by a lock in Redis
redbeat_redis_url, redbeat_redis_options = redbeat_of(settings)
redbeat_key_prefix = "claimx:redbeat:"
redbeat_lock_timeout = 8  # a killed beat's successor ticks after this
beat_max_loop_interval = 2  # the lock is renewed each loop
beat_schedule = {
    "poll": {
        "task": "claimx.poll",
        "schedule": timedelta(seconds=settings.poll_interval),
        "options": {"expires": max(2.0, settings.poll_interval * 0.9)},  # no pile-up
    },
    "catch-up": {
        "task": "claimx.catch_up",
        "schedule": timedelta(seconds=2),  # one read of Redis, unless the poll was far behind
        "options": {"expires": 2},
    },
    "redrive": {
        "task": "claimx.redrive",
        "schedule": timedelta(seconds=1),
        "options": {"expires": 5},
    },
    "maintain": {
        "task": "claimx.maintain",
        "schedule": timedelta(minutes=10),
        "options": {"expires": 540},
    },
    "recover": {
        "task": "claimx.recover",
        "schedule": timedelta(seconds=30),  # three reads of Redis, unless it was lost
        "options": {"expires": 25},
    },
    "reconcile": {
        "task": "claimx.reconcile",
        "schedule": timedelta(hours=1),  # an hour of settled time is minutes of work at 10 M a day
        "options": {"expires": 3000},
    },
    "maintain-full": {  # files that killed writers left, too
        "task": "claimx.maintain",
        "schedule": timedelta(days=1),
        "kwargs": {"full": True},
        "options": {"expires": 3600},
    },
    "sweep": {
        "task": "claimx.sweep",
        "schedule": timedelta(minutes=5),
        "options": {"expires": 240},
    },
}
timezone = "UTC"

if sys.platform == "darwin":
    worker_pool_start_method = "spawn"  # forking after Objective-C was used aborts the child
