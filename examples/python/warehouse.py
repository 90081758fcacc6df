"""A warehouse that reserves what is in stock, for orders of another service.

    python3 warehouse.py --queue dev-warehouse --dead-letters dev-warehouse-dlq \\
        --reply-to replies=dev-replies --database warehouse.db --stock lamp=3

The AWS_ variables of the environment say where SQS is, and who asks.
"""

import argparse
import logging

import boto3

from participant import Participant, Refused, Step

TABLES = """
CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS reservations (key TEXT PRIMARY KEY, item TEXT NOT NULL, count INTEGER NOT NULL);
"""


def reserve(db, key, order):
    taken = db.execute("UPDATE stock SET count = count - ? WHERE item = ? AND count >= ?",
                       (order["Count"], order["Item"], order["Count"])).rowcount
    if not taken:
        raise Refused("SoldOut", f'there are no {order["Count"]} of {order["Item"]} left')
    reservation = db.execute("INSERT INTO reservations (key, item, count) VALUES (?, ?, ?)",
                             (key, order["Item"], order["Count"])).lastrowid
    return {"Reservation": f"r-{reservation}"}


def release(db, key, order, outcome, result):
    row = db.execute("SELECT item, count FROM reservations WHERE key = ?", (key,)).fetchone()
    if row:  # else it was never reserved
        db.execute("UPDATE stock SET count = count + ? WHERE item = ?", (row[1], row[0]))
        db.execute("DELETE FROM reservations WHERE key = ?", (key,))


def main():
    parser = argparse.ArgumentParser(description="Reserves what is in stock, as commands from a queue tell.")
    parser.add_argument("--queue", required=True, help="the queue of the commands")
    parser.add_argument("--dead-letters", help="the queue for what is no command")
    parser.add_argument("--reply-to", required=True, action="append", metavar="NAME=QUEUE", help="an endpoint that replies may go to, and its queue")
    parser.add_argument("--database", required=True, help="the file of the database")
    parser.add_argument("--stock", action="append", default=[], metavar="ITEM=COUNT", help="what is in stock in a new database")
    args = parser.parse_args()
    logging.basicConfig(format="%(name)s: %(message)s")

    sqs = boto3.client("sqs")

    def url(name):
        return sqs.get_queue_url(QueueName=name)["QueueUrl"]

    participant = Participant(
        sqs, url(args.queue), {name: url(queue) for name, _, queue in (r.partition("=") for r in args.reply_to)},
        args.database, {"Reserve": Step(reserve, release)}, url(args.dead_letters) if args.dead_letters else None)
    participant.db.executescript(TABLES)
    for item, _, count in (s.partition("=") for s in args.stock):
        participant.db.execute("INSERT OR IGNORE INTO stock (item, count) VALUES (?, ?)", (item, int(count)))
    participant.run()


if __name__ == "__main__":
    main()
