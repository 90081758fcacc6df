"""Does steps for the sagas of other services, as commands from an SQS queue tell.

It needs the standard library and boto3. What it keeps to is in the documentation
of Waybill's package saga, under "Steps elsewhere"; "waybill schema command" and
"waybill schema reply" print the schemas of the messages.

The effect of a step, and the record of what came of it, are in one transaction of
one SQLite database. So there is no moment at which one is there without the other,
and processes that share the file do one command at a time: there are no claims that
expire, and an action that is at work is awaited by whoever needs the lock.
"""

import base64
import contextlib
import hashlib
import json
import logging
import re
import signal
import sqlite3
import time
from datetime import datetime, timezone

import botocore.exceptions

log = logging.getLogger("participant")

RETENTION = 15 * 86400  # seconds; SQS keeps a message for 14 days at most

TABLE = """CREATE TABLE IF NOT EXISTS commands (
    definition TEXT NOT NULL,
    key        TEXT NOT NULL,
    attempt    INTEGER NOT NULL,  -- the highest that was seen
    final      INTEGER NOT NULL,  -- the answer is that to every attempt
    answer     TEXT NOT NULL,     -- JSON
    at         REAL NOT NULL,
    PRIMARY KEY (definition, key)
)"""


class Refused(Exception):
    """A step says no, and has changed nothing. The saga's policies go by the name."""

    def __init__(self, name, cause, permanent=True):
        super().__init__(cause)
        self.name, self.permanent = name, permanent


class Poison(Exception):
    """A message that no retry makes a command."""


class Step:
    """What is done, and undone, for a step.

    do(db, key, input) returns what the saga gets, which is anything that JSON has.
    undo(db, key, input, outcome, result) gets the key of the action. Its outcome is
    "done", with the result where that is on record, or "unknown": it may never
    have come here then, and will not be done any more.

    Both make their changes on db, and neither begins nor ends a transaction. What
    they raise takes all of that back. What has an effect elsewhere has to pass the
    key on, and does not belong behind a lock.
    """

    def __init__(self, do, undo=None):
        self.do, self.undo = do, undo


class Participant:
    """Takes commands from one queue. Any number of processes may share it.

    reply_to has the URLs of the queues that replies may go to, by the names of
    their endpoints. dead_letters is the URL of the queue for what is no command;
    without one it stays, and the queue's redrive policy moves it. Each may be FIFO.
    """

    def __init__(self, sqs, queue, reply_to, database, steps, dead_letters=None):
        self.sqs, self.queue, self.reply_to, self.dead_letters = sqs, queue, reply_to, dead_letters
        self.steps, self.stopping, self.swept = steps, False, 0.0
        self.db = sqlite3.connect(database, isolation_level=None, timeout=20)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(TABLE)

    def stop(self, signum, frame):
        """Lets run end when it is through with its message. A second signal ends the
        process at once."""
        self.stopping = True
        signal.signal(signum, signal.SIG_DFL)

    def run(self):
        """Handles commands until a signal stops it, which takes up to five seconds."""
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        while not self.stopping:
            self.sweep()
            try:
                got = self.sqs.receive_message(
                    QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=5,
                    MessageAttributeNames=["All"], AttributeNames=["ApproximateReceiveCount", "MessageGroupId"])
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                log.exception("receive")
                time.sleep(1)
                continue
            held = {}
            for message in got.get("Messages", []):
                self.take(message, held)
        self.db.close()

    def take(self, message, held):
        """Handles a message, or gives it back. held has the FIFO groups in which one
        has failed, and for how many seconds: those behind it must not overtake it."""
        order = group(message) if fifo(self.queue) else None
        try:
            if self.stopping:
                self.give_back(message, 0)
            elif order in held:
                self.give_back(message, held[order] + 1)
            else:
                self.handle(message)
        except Exception:  # nobody has a reply: it comes again, as the same attempt
            log.exception("message %s", message["MessageId"])
            seconds = min(2 ** receives(message), 900)
            if order:
                held[order] = seconds
            with contextlib.suppress(Exception):
                self.give_back(message, seconds)

    def give_back(self, message, seconds):
        self.sqs.change_message_visibility(
            QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds)

    def handle(self, message):
        """Does a command, replies, and only then deletes it: whatever happens between,
        it comes again, and finds its answer."""
        try:
            command = self.read(message)
        except Poison as why:
            if not self.dead_letters:
                raise
            self.bury(message, why)
        else:
            self.reply(command, self.settle(command))
        self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])

    def settle(self, command):
        """Does a command if that is still to be done, and tells what came of it."""
        with self.transaction():
            kept = self.kept(command["definition"], command["key"])
            if kept:
                attempt, final, answer = kept
                if final or attempt == command["attempt"]:
                    return answer
                if attempt > command["attempt"]:
                    return failure("unknown", "", "a later attempt has been seen")
            answer = self.work(command)
            self.keep(command, command["key"], command["attempt"], answer["outcome"] == "done", answer)
            return answer

    def work(self, command):
        """Has a step done or undone. It is in the transaction of the record."""
        if time.time() * 1000 >= command["notAfter"]:
            return failure("not done", "States.Timeout", "it came after its time, by this clock")
        step, undo = self.steps[command["step"]], command["command"] == "undo"
        if undo:
            outcome, result = self.close(command)
        self.db.execute("SAVEPOINT effect")
        try:
            if undo:
                step.undo(self.db, command["undoes"], command["input"], outcome, result)
                return {"outcome": "done"}
            answer = {"outcome": "done", "result": step.do(self.db, command["key"], command["input"])}
            json.dumps(answer)  # what cannot be replied is not done
            return answer
        except sqlite3.OperationalError:  # such as a full disk: no fault of the step's
            raise
        except Refused as no:
            self.db.execute("ROLLBACK TO effect")
            return failure("not done", no.name, str(no), no.permanent)
        except Exception as bug:
            log.exception("step %s, key %s", command["step"], command["key"])
            self.db.execute("ROLLBACK TO effect")
            return failure("not done", type(bug).__name__, str(bug))

    def close(self, command):
        """Tells what an undo has to undo. An action that is not done is refused from
        now on, whenever it comes."""
        kept = self.kept(command["definition"], command["undoes"])
        if kept and kept[2]["outcome"] == "done":
            return "done", kept[2]["result"]
        self.keep(command, command["undoes"], 0, True, failure(
            "unknown", "", "the action came after its own undo, and was not begun", True))
        return command["outcome"], None

    def reply(self, command, answer):
        """Sends what came of a command. A FIFO queue has it in the group of the execution,
        or in a branch of that, and knows it by its id and what is in it: a reply that is
        sent again is dropped as a repeat, and one to a command of another commit is not."""
        echo = {name: command[name] for name in
                ("key", "execution", "frame", "step", "visit", "attempt", "commit") if name in command}
        name = "/".join((command["key"], str(command["attempt"]), answer["outcome"].replace(" ", "-")))
        body = json.dumps({"waybill": 1, "reply": command["command"], **echo, **answer})
        place = "/".join(filter(None, (command["execution"], command.get("frame"))))
        self.send(self.reply_to[command["replyTo"]], body, {"_watermill_message_uuid": text(name)},
                  place if re.fullmatch("[!-~]{1,128}", place) else digest(place), digest(name + "\0" + body))

    def send(self, queue, body, attributes, order, name):
        """Sends a message: to a FIFO queue in a group, and with a deduplication id."""
        place = {"MessageGroupId": order, "MessageDeduplicationId": name} if fifo(queue) else {}
        self.sqs.send_message(QueueUrl=queue, MessageBody=body, MessageAttributes=attributes, **place)

    def bury(self, message, why):
        """Moves a message to the dead-letter queue, with the reason, which waybill dlq
        shows."""
        log.error("message %s is no command: %s", message["MessageId"], why)
        attributes = message.get("MessageAttributes", {})
        if len(attributes) < 10:  # the most that SQS takes
            attributes["Waybill-Failure"] = text(json.dumps({
                "v": 1, "reason": "permanent", "message": str(why)[:1000], "filter": "participant",
                "source": "sqs://" + self.queue.rsplit("/", 1)[1], "message_id": message["MessageId"],
                "receive_count": receives(message), "last_failure": datetime.now(timezone.utc).isoformat()}))
        self.send(self.dead_letters, message["Body"], attributes, group(message), message["MessageId"])

    def read(self, message):
        """Reads a command, or raises Poison."""
        body = message["Body"]
        encoding = message.get("MessageAttributes", {}).get("Waybill-Encoding", {}).get("StringValue")
        try:
            command = json.loads(base64.b64decode(body).decode() if encoding == "base64" else body)
        except (ValueError, RecursionError) as why:
            raise Poison(f"it is no JSON: {why}") from why
        check(command, self.reply_to)
        step = self.steps.get(command["step"])
        if not step or command["command"] == "undo" and not step.undo:
            raise Poison(f'to {command["command"]} the step "{command["step"]}" is not for this service')
        return command

    @contextlib.contextmanager
    def transaction(self):
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def kept(self, definition, key):
        row = self.db.execute("SELECT attempt, final, answer FROM commands WHERE definition = ? AND key = ?",
                              (definition, key)).fetchone()
        return row and (row[0], bool(row[1]), json.loads(row[2]))

    def keep(self, command, key, attempt, final, answer):
        self.db.execute("INSERT OR REPLACE INTO commands (definition, key, attempt, final, answer, at) VALUES (?, ?, ?, ?, ?, ?)",
                        (command["definition"], key, attempt, final, json.dumps(answer), time.time()))

    def sweep(self):
        """Removes once an hour the records that no message can ask for any more."""
        if time.time() - self.swept > 3600:
            self.swept = time.time()
            self.db.execute("DELETE FROM commands WHERE at < ?", (time.time() - RETENTION,))


def failure(outcome, name, cause, permanent=False):
    return {"outcome": outcome, "error": name, "cause": cause, "permanent": permanent}


def text(value):
    return {"DataType": "String", "StringValue": value}


def fifo(queue):
    return queue.endswith(".fifo")


def group(message):
    return message.get("Attributes", {}).get("MessageGroupId")


def digest(value):
    return hashlib.sha256(value.encode()).hexdigest()[:32]


def receives(message):
    return int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1))


def check(command, reply_to):
    """Raises Poison if something is no command, or one that cannot be replied to."""
    if not isinstance(command, dict) or command.get("waybill") != 1:
        raise Poison('want a JSON object with "waybill": 1, the version of the format')
    undo = command.get("command") == "undo"
    if not undo and command.get("command") != "do":
        raise Poison('"command" is neither "do" nor "undo"')
    named = [name for name in ("frame", "commit") if command.get(name, "") != ""]
    for name in ["key", "execution", "definition", "step", "replyTo"] + ["undoes"] * undo + named:
        value = command.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= 4096 or re.search("[\0-\x1f\x7f-\x9f\ud800-\udfff]", value):
            raise Poison(f'"{name}" is no text of 1 to 4096 characters, or has control characters')
    for name, most in ("visit", 2**31), ("attempt", 2**31 - 2), ("notAfter", 2**62):
        if type(command.get(name)) is not int or not 1 <= command[name] <= most:
            raise Poison(f'"{name}" is no number of 1 or more')
    if "input" not in command:
        raise Poison('"input" is missing')
    if undo and command.get("outcome") not in ("done", "unknown"):
        raise Poison('"outcome" of what is to be undone is neither "done" nor "unknown"')
    if command["replyTo"] not in reply_to:
        raise Poison(f'"replyTo" is "{command["replyTo"]}", and replies go to {", ".join(reply_to)}')
