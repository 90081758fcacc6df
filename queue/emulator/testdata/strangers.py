"""Drives SQS and SNS with boto3, as one would who has never heard of the emulator.

usage: strangers.py ENDPOINT
"""

import json
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

options = dict(
    endpoint_url=sys.argv[1],
    region_name="eu-central-1",
    aws_access_key_id="test",
    aws_secret_access_key="test",
    config=Config(retries={"total_max_attempts": 1}),
)
sqs = boto3.client("sqs", **options)
sns = boto3.client("sns", **options)


def arn(url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def receive(url, **more):
    return sqs.receive_message(
        QueueUrl=url, AttributeNames=["All"], MessageAttributeNames=["All"], MaxNumberOfMessages=10, **more
    ).get("Messages", [])


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
    else:
        raise AssertionError(f"{arguments} are not refused with {code}")


def messages():
    url = sqs.create_queue(QueueName="fares", Attributes={"VisibilityTimeout": "1"}, tags={"team": "rides"})["QueueUrl"]
    assert sqs.get_queue_url(QueueName="fares")["QueueUrl"] == url
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "rides"}

    text = "twenty dollars \u2013 \U0001f695 <&>\r\n\t\"'"
    attributes = {
        "kind": {"DataType": "String", "StringValue": "ride"},
        "fare": {"DataType": "Number.usd", "StringValue": "20.50"},
        "seal": {"DataType": "Binary", "BinaryValue": bytes(range(256))},
    }
    sent = sqs.send_message(QueueUrl=url, MessageBody=text, MessageAttributes=attributes)
    (got,) = receive(url)
    assert got["MessageId"] == sent["MessageId"] and got["Body"] == text
    assert got["MessageAttributes"] == attributes, got["MessageAttributes"]
    assert got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert got["Attributes"]["ApproximateReceiveCount"] == "1"

    assert receive(url) == []  # it is hidden
    (again,) = receive(url, WaitTimeSeconds=5)
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=0)
    (third,) = receive(url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=third["ReceiptHandle"])

    refused("AWS.SimpleQueueService.NonExistentQueue", sqs.get_queue_url, QueueName="none")
    refused("InvalidMessageContents", sqs.send_message, QueueUrl=url, MessageBody="\x00")
    refused("InvalidParameterValue", sqs.send_message, QueueUrl=url, MessageBody="x" * (1 << 20) + "x")
    refused("ReceiptHandleIsInvalid", sqs.delete_message, QueueUrl=url, ReceiptHandle="nonsense")


def batches():
    url = sqs.create_queue(QueueName="batches")["QueueUrl"]
    entries = [{"Id": str(i), "MessageBody": f"ride {i}"} for i in range(9)]
    out = sqs.send_message_batch(QueueUrl=url, Entries=entries + [{"Id": "bad", "MessageBody": "\x00"}])
    assert sorted(e["Id"] for e in out["Successful"]) == [str(i) for i in range(9)]
    assert [(e["Id"], e["Code"], e["SenderFault"]) for e in out["Failed"]] == [("bad", "InvalidMessageContents", True)]

    got = receive(url)
    assert [m["Body"] for m in got] == [f"ride {i}" for i in range(9)], got
    handles = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(got)]
    out = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[{**h, "VisibilityTimeout": 60} for h in handles])
    assert len(out["Successful"]) == 9
    out = sqs.delete_message_batch(QueueUrl=url, Entries=handles)
    assert len(out["Successful"]) == 9
    refused("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", sqs.send_message_batch, QueueUrl=url,
            Entries=[{"Id": str(i), "MessageBody": "x"} for i in range(11)])
    sqs.delete_queue(QueueUrl=url)
    refused("AWS.SimpleQueueService.QueueDeletedRecently", sqs.create_queue, QueueName="batches")


def dead_letters():
    dlq = sqs.create_queue(QueueName="fares-dlq")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": arn(dlq), "maxReceiveCount": "1"})
    url = sqs.create_queue(QueueName="doomed", Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})["QueueUrl"]
    assert sqs.list_dead_letter_source_queues(QueueUrl=dlq)["queueUrls"] == [url]

    sqs.send_message(QueueUrl=url, MessageBody="poison")
    assert len(receive(url)) == 1
    assert receive(url) == []
    (dead,) = receive(dlq, VisibilityTimeout=0)
    assert dead["Attributes"]["DeadLetterQueueSourceArn"] == arn(url)

    sqs.start_message_move_task(SourceArn=arn(dlq))
    (back,) = receive(url, WaitTimeSeconds=10)
    assert back["Body"] == "poison" and back["MessageId"] != dead["MessageId"]
    deadline = time.monotonic() + 10
    while (task := sqs.list_message_move_tasks(SourceArn=arn(dlq))["Results"][0])["Status"] == "RUNNING":
        assert time.monotonic() < deadline, task
    assert task["Status"] == "COMPLETED" and task["ApproximateNumberOfMessagesMoved"] == 1, task


def fifo():
    url = sqs.create_queue(QueueName="rides.fifo", Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"})["QueueUrl"]
    first = sqs.send_message(QueueUrl=url, MessageBody="ride 1", MessageGroupId="car")
    again = sqs.send_message(QueueUrl=url, MessageBody="ride 1", MessageGroupId="car")
    assert (again["MessageId"], again["SequenceNumber"]) == (first["MessageId"], first["SequenceNumber"])
    out = sqs.send_message_batch(QueueUrl=url, Entries=[
        {"Id": str(i), "MessageBody": f"ride {i}", "MessageGroupId": "car" if i < 4 else "bus", "MessageDeduplicationId": str(i)} for i in range(2, 6)
    ])
    assert [e["SequenceNumber"] > first["SequenceNumber"] for e in out["Successful"]] == [True] * 4, out

    got = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=2, ReceiveRequestAttemptId="try", AttributeNames=["SequenceNumber"],
    )["Messages"]
    assert [m["Body"] for m in got] == ["ride 1", "ride 2"], got
    assert got[0]["Attributes"]["SequenceNumber"] == first["SequenceNumber"]
    assert [m["ReceiptHandle"] for m in receive(url, ReceiveRequestAttemptId="try")] == [m["ReceiptHandle"] for m in got]
    assert [m["Body"] for m in receive(url)] == ["ride 4", "ride 5"]  # the car is under way
    for m in got:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
    (last,) = receive(url)
    assert last["Body"] == "ride 3"
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=last["ReceiptHandle"], VisibilityTimeout=0)
    refused("InvalidParameterValue", sqs.delete_message, QueueUrl=url, ReceiptHandle=last["ReceiptHandle"])
    refused("MissingParameter", sqs.send_message, QueueUrl=url, MessageBody="x")
    refused("InvalidParameterValue", sqs.create_queue, QueueName="rides.fifo")


def topics():
    topic = sns.create_topic(Name="fare-events")["TopicArn"]
    url = sqs.create_queue(QueueName="receipts")["QueueUrl"]
    subscription = sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=arn(url), ReturnSubscriptionArn=True,
        Attributes={"FilterPolicy": json.dumps({"kind": [{"prefix": "ride"}], "fare": [{"numeric": [">", 10]}]})},
    )["SubscriptionArn"]
    for kind, fare in (("ride-long", "20"), ("ride-short", "5"), ("tip", "20")):
        sns.publish(TopicArn=topic, Message=kind, MessageAttributes={
            "kind": {"DataType": "String", "StringValue": kind}, "fare": {"DataType": "Number", "StringValue": fare},
        })
    (got,) = receive(url, WaitTimeSeconds=5)
    envelope = json.loads(got["Body"])
    assert envelope["Message"] == "ride-long" and envelope["TopicArn"] == topic
    assert envelope["MessageAttributes"]["fare"] == {"Type": "Number", "Value": "20"}

    sns.set_subscription_attributes(SubscriptionArn=subscription, AttributeName="RawMessageDelivery", AttributeValue="true")
    sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[
        {"Id": "a", "Message": "raw", "MessageAttributes": {
            "kind": {"DataType": "String", "StringValue": "rides"}, "fare": {"DataType": "Number", "StringValue": "1e3"},
        }},
    ])
    (got,) = receive(url, WaitTimeSeconds=5)
    assert got["Body"] == "raw" and got["MessageAttributes"]["fare"]["StringValue"] == "1e3"
    refused("NotFound", sns.publish, TopicArn=topic + "-none", Message="x")
    sns.unsubscribe(SubscriptionArn=subscription)
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def pages():
    for i in range(5):
        sqs.create_queue(QueueName=f"page-{i}")
        sns.create_topic(Name=f"page-{i}")
    pages = list(sqs.get_paginator("list_queues").paginate(QueueNamePrefix="page-", PaginationConfig={"PageSize": 2}))
    assert [len(p["QueueUrls"]) for p in pages] == [2, 2, 1]
    topics = [t["TopicArn"] for p in sns.get_paginator("list_topics").paginate() for t in p["Topics"]]
    assert len([t for t in topics if ":page-" in t]) == 5


for scenario in (messages, batches, dead_letters, fifo, topics, pages):
    scenario()
    print(scenario.__name__, "done")
