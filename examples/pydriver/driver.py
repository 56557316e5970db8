#!/usr/bin/env python3
"""A messaging system in memory that speaks the protocol of tck/stdio/PROTOCOL.md.

It declares what CAPABILITIES lists and refuses everything else as unsupported.
One lock guards the whole store; a receive that must wait does so in a thread of
its own, and everything else is answered by the thread that reads.
"""

import bisect
import json
import os
import sys
import threading
import time
import uuid

CAPABILITIES = ["admin", "delivery-count", "ext-ids", "lease", "nack", "nested"]
SPEC_VERSION = "1.0.0-alpha"
VERSION = "0.1.0"

# Status codes.
NO_QUEUE, NO_NAMESPACE, QUEUE_EXISTS, NAMESPACE_EXISTS = 1404, 1405, 1406, 1407
BAD_REQUEST, BAD_PARAMETER, BAD_URL = 1400, 1418, 10001
UNSUPPORTED, CLOSED, CANCELED, STALE, NO_GROUP = 20000, 20001, 20002, 20004, 20012

# Message fields of capabilities that are not declared.
REFUSED = {
    "qos": "qos1 or qos2", "compression": "compression", "partition": "partitions",
    "delay_ms": "delay", "expire_at": "expire", "priority": "priority",
}
# Message fields that the provider sets, whatever the sender says.
OURS = ("message_id", "transaction_id", "stored_at", "store_host", "delivery_count")


class Failure(Exception):
    def __init__(self, code, message, resource=""):
        super().__init__(message)
        self.told = {"code": code, "message": message, "resource": resource}


class Group:
    """The progress of a consumer group in a queue. Offsets are places in
    Queue.messages."""

    def __init__(self, first):
        self.next = first  # the offset that was never delivered
        self.back = []  # (offset, not before), sorted: to be delivered again
        self.leases = {}  # offset -> (lease id, until, receiver)
        self.acked = {}  # offset -> lease id of the acknowledgement
        self.counts = {}  # offset -> deliveries
        self.last_lease = 0

    def expire(self, now):
        for offset in [o for o, (_, until, _) in self.leases.items() if until <= now]:
            self.give_back(offset, now)

    def give_back(self, offset, when):
        del self.leases[offset]
        bisect.insort(self.back, (offset, when))

    def take(self, queue, receiver, most, now):
        """Leases up to most messages to a receiver."""
        self.expire(now)
        offsets = [o for o, when in self.back if when <= now][:most]
        taken = set(offsets)
        self.back = [b for b in self.back if b[0] not in taken]
        while len(offsets) < most and self.next < len(queue.messages):
            offsets.append(self.next)
            self.next += 1
        deliveries = []
        for o in offsets:
            self.last_lease += 1
            until = now + receiver.lease
            self.leases[o] = (self.last_lease, until, receiver)
            self.counts[o] = self.counts.get(o, 0) + 1
            message = dict(queue.messages[o][1], destination=receiver.name, delivery_count=self.counts[o])
            deliveries.append({"message": message, "receipt": [o, self.last_lease], "lease_until": wall(until)})
        return deliveries

    def wake(self):
        """When something may become deliverable by time alone."""
        return min([when for _, when in self.back] + [until for _, until, _ in self.leases.values()], default=None)


class Queue:
    def __init__(self, name, description):
        self.name = name
        self.description = description
        self.messages = []  # (stored at, message)
        self.groups = {}
        self.deleted = False

    def config(self):
        return {"name": self.name, "partitions": 1, "description": self.description}

    def offset(self, position):
        end = len(self.messages)
        match position.get("at", "begin"):
            case "begin":
                return 0
            case "end":
                return end
            case "offset":
                return min(max(int(position["offset"]), 0), end)
            case "time":
                return bisect.bisect_left(self.messages, position["time"], key=lambda m: m[0])
        raise Failure(BAD_PARAMETER, f"unknown position {position}", self.name)


class Conn:
    pass


class Sender:
    def __init__(self, conn):
        self.conn = conn


class Receiver:
    def __init__(self, conn, queue, name, group, lease):
        self.conn, self.queue, self.name, self.group, self.lease = conn, queue, name, group, lease


def wall(monotonic):
    """The milliseconds since 1970 of a monotonic time."""
    return int((time.time() + monotonic - time.monotonic()) * 1000)


def split(name):
    namespace, found, queue = name.partition("://")
    return (namespace, queue) if found else ("default", name)


def check_name(what, name):
    if not name or len(name) > 255 or "://" in name or any(c <= " " for c in name):
        raise Failure(BAD_PARAMETER, f"{name!r} is no name of a {what}", name)


class System:
    """The store and the operations. The caller of op_ methods holds the lock."""

    def __init__(self):
        self.changed = threading.Condition()
        self.writing = threading.Lock()
        self.namespaces = {"default": {}}
        self.handles = {}  # handle -> Conn, Sender or Receiver
        self.last_handle = 0
        self.waiting = {}  # id of a receive -> False, True when canceled

    # The talk.

    def run(self):
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if request["op"] == "cancel":
                with self.changed:
                    if request["target"] in self.waiting:
                        self.waiting[request["target"]] = True
                        self.changed.notify_all()
            elif request["op"] == "receive":
                with self.changed:
                    self.waiting[request["id"]] = False  # before a cancel is read
                threading.Thread(target=self.answer, args=(request,), daemon=True).start()
            else:
                self.answer(request)
        with self.writing:  # no line is cut
            os._exit(0)

    def answer(self, request):
        told = {"id": request["id"]}
        try:
            operation = getattr(self, "op_" + request["op"], None)
            if operation is None:
                raise Failure(UNSUPPORTED, f"there is no {request['op']}")
            with self.changed:
                told.update(operation(request) or {})
        except Failure as failure:
            told["error"] = failure.told
        except (KeyError, TypeError, ValueError) as error:
            told["error"] = {"code": BAD_REQUEST, "message": f"malformed {request['op']}: {error!r}"}
        line = json.dumps(told, separators=(",", ":")).encode() + b"\n"
        with self.writing:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    def new_handle(self, what):
        self.last_handle += 1
        self.handles[self.last_handle] = what
        return {"handle": self.last_handle}

    def held(self, request, kind):
        """What the request's handle stands for."""
        what = self.handles.get(request["handle"])
        if not isinstance(what, kind):
            raise Failure(CLOSED, f"the {kind.__name__.lower()} is closed")
        return what

    def receiver(self, request):
        receiver = self.held(request, Receiver)
        if receiver.queue.deleted:
            raise Failure(NO_QUEUE, "the queue was deleted", receiver.name)
        group = receiver.queue.groups.get(receiver.group)
        if group is None:
            raise Failure(NO_GROUP, f"the group {receiver.group!r} was deleted", receiver.name)
        return receiver, group

    def queue(self, name):
        namespace, queue = split(name)
        if namespace not in self.namespaces:
            raise Failure(NO_NAMESPACE, f"there is no namespace {namespace!r}", name)
        if queue not in self.namespaces[namespace]:
            raise Failure(NO_QUEUE, f"there is no queue {queue!r}", name)
        return self.namespaces[namespace][queue]

    # The core.

    def op_hello(self, _):
        return {"protocol": 1}

    def op_open(self, request):
        if request.get("options"):
            raise Failure(BAD_URL, f"no such options: {', '.join(request['options'])}; there are none", request["url"])
        return self.new_handle(Conn()) | {
            "version": VERSION, "spec_version": SPEC_VERSION, "capabilities": CAPABILITIES}

    def op_ping(self, _):
        return {}

    def op_sender(self, request):
        if request.get("checker"):
            raise Failure(UNSUPPORTED, "there are no transactions")
        return self.new_handle(Sender(self.held(request, Conn)))

    def op_receiver(self, request):
        name, group, lease = request["queue"], request["group"], request["lease_ms"] / 1000
        queue = self.queue(name)
        if lease <= 0:
            raise Failure(BAD_PARAMETER, "the lease is not positive", name)
        if group not in queue.groups:
            queue.groups[group] = Group(queue.offset(request.get("position", {})))
        return self.new_handle(Receiver(self.held(request, Conn), queue, name, group, lease))

    def op_send(self, request):
        self.held(request, Sender)
        outcomes = []
        for message in request["messages"]:
            try:
                outcomes.append({"message_id": self.store(message)})
            except Failure as failure:
                outcomes.append({"error": failure.told})
        self.changed.notify_all()
        return {"outcomes": outcomes}

    def store(self, message):
        queue = self.queue(message.get("destination", ""))
        for field, capability in REFUSED.items():
            if message.get(field):
                raise Failure(UNSUPPORTED, f"{field} needs {capability}", queue.name)
        if message.get("partition") is not None:
            raise Failure(UNSUPPORTED, "there are no partitions", queue.name)
        kept = {k: v for k, v in message.items() if k not in OURS}
        kept["message_id"] = uuid.uuid4().hex
        queue.messages.append((int(time.time() * 1000), kept))
        return kept["message_id"]

    def op_receive(self, request):
        try:
            while True:
                receiver, group = self.receiver(request)
                if self.waiting[request["id"]]:
                    raise Failure(CANCELED, "canceled")
                now = time.monotonic()
                if deliveries := group.take(receiver.queue, receiver, request["max"], now):
                    return {"deliveries": deliveries}
                wake = group.wake()
                self.changed.wait(None if wake is None else max(0, wake - now))
        finally:
            del self.waiting[request["id"]]

    def settle(self, request, action):
        """Applies action to the deliveries whose lease still holds."""
        _, group = self.receiver(request)
        now, errors = time.monotonic(), []
        group.expire(now)
        for offset, lease in request["receipts"]:
            held = group.leases.get(offset)
            if held is not None and held[0] == lease:
                errors.append(None)
                action(group, offset, held, now)
            elif action is acknowledge and group.acked.get(offset) == lease:
                errors.append(None)
            else:
                errors.append({"code": STALE, "message": "the delivery was settled, or its lease has ended"})
        self.changed.notify_all()
        return {"errors": errors} if any(errors) else {}

    def op_ack(self, request):
        return self.settle(request, acknowledge)

    def op_nack(self, request):
        delay = request["delay_ms"] / 1000
        return self.settle(request, lambda group, offset, held, now: group.give_back(offset, now + delay))

    def op_extend(self, request):
        def extend(group, offset, held, now):
            group.leases[offset] = (held[0], now + request["lease_ms"] / 1000, held[2])
        return self.settle(request, extend)

    def op_close(self, request):
        closed = self.handles.get(request["handle"])
        for handle, what in list(self.handles.items()):
            if what is not closed and getattr(what, "conn", None) is not closed:
                continue
            del self.handles[handle]
            if isinstance(what, Receiver) and (group := what.queue.groups.get(what.group)):
                for offset in [o for o, held in group.leases.items() if held[2] is what]:
                    group.give_back(offset, 0)
        self.changed.notify_all()

    # Admin.

    def op_create_namespace(self, request):
        name = request.get("name", "")
        check_name("namespace", name)
        if name in self.namespaces:
            raise Failure(NAMESPACE_EXISTS, "the namespace is there", name)
        self.namespaces[name] = {}

    def op_delete_namespace(self, request):
        name = request.get("name", "")
        if name not in self.namespaces:
            raise Failure(NO_NAMESPACE, "there is no such namespace", name)
        if self.namespaces[name] or name == "default":
            raise Failure(BAD_PARAMETER, "it is the default namespace, or has queues", name)
        del self.namespaces[name]

    def op_namespaces(self, _):
        return {"names": sorted(self.namespaces)}

    def op_create_queue(self, request):
        config = request["config"]
        namespace, name = split(config["name"])
        check_name("queue", name)
        if namespace not in self.namespaces:
            raise Failure(NO_NAMESPACE, f"there is no namespace {namespace!r}", config["name"])
        if config.get("partitions", 0) > 1:
            raise Failure(UNSUPPORTED, "there are no partitions", config["name"])
        if name in self.namespaces[namespace]:
            raise Failure(QUEUE_EXISTS, "the queue is there", config["name"])
        self.namespaces[namespace][name] = Queue(f"{namespace}://{name}", config.get("description", ""))

    def op_delete_queue(self, request):
        queue = self.queue(request.get("queue", ""))
        namespace, name = split(queue.name)
        queue.deleted = True
        del self.namespaces[namespace][name]
        self.changed.notify_all()

    def op_queue(self, request):
        return {"config": self.queue(request.get("queue", "")).config()}

    def op_queues(self, request):
        namespace = request.get("namespace", "")
        if namespace not in self.namespaces:
            raise Failure(NO_NAMESPACE, "there is no such namespace", namespace)
        return {"configs": [q.config() for _, q in sorted(self.namespaces[namespace].items())]}

    def op_delete_group(self, request):
        queue = self.queue(request.get("queue", ""))
        if queue.groups.pop(request.get("group", ""), None) is None:
            raise Failure(NO_GROUP, "the queue knows no such group", queue.name)
        self.changed.notify_all()


def acknowledge(group, offset, held, _):
    del group.leases[offset]
    group.acked[offset] = held[0]


if __name__ == "__main__":
    System().run()
