"""What others do at a broker, with clients that are not ours: prepare it, and read what was delivered, a line of JSON
for each message."""

import asyncio
import json
import sys


def show(body, headers, **rest):
    text = lambda it: it.decode() if isinstance(it, bytes) else it
    headers = {name: text(value) for name, value in dict(headers or {}).items()}
    print(json.dumps({"event": json.loads(body), "headers": headers, **rest}), flush=True)


def rabbitmq_declare(url, exchange, queue, key):
    import pika

    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.queue_declare(queue, durable=True)
    if exchange:
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_bind(queue, exchange, key)


def rabbitmq_read(url, queue):
    import pika

    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return
        show(
            body,
            properties.headers,
            id=properties.message_id,
            type=properties.content_type,
            mode=properties.delivery_mode,
            key=method.routing_key,
        )


def nats_stream(url, name, subject, token):
    async def run():
        import nats

        client = await nats.connect(url, token=token or None)
        await client.jetstream().add_stream(name=name, subjects=[subject])
        await client.close()

    asyncio.run(run())


def nats_read(url, name, token):
    async def run():
        import nats

        client = await nats.connect(url, token=token or None)
        streams = client.jetstream()
        count = (await streams.stream_info(name)).state.messages
        subscription = await streams.pull_subscribe("", stream=name)
        while count:
            for message in await subscription.fetch(min(count, 100), timeout=10):
                count -= 1
                show(message.data, message.headers, subject=message.subject)
        await client.close()

    asyncio.run(run())


def kafka(servers, ca):
    secured = {"security.protocol": "ssl", "ssl.ca.pem": ca} if ca else {}
    return {"bootstrap.servers": servers, **secured}


def kafka_create(servers, topic, ca=""):
    from confluent_kafka.admin import AdminClient, NewTopic

    client = AdminClient(kafka(servers, ca))
    client.create_topics([NewTopic(topic, 3, 1)])[topic].result(30)


def kafka_read(servers, topic, ca=""):
    from confluent_kafka import Consumer, Producer, TopicPartition

    # What ends a partition is written to it: the broker's own word for that is wrong after a batch of several.
    writer = Producer({**kafka(servers, ca), "linger.ms": 0})
    ends = {}
    keep = lambda error, message: ends.update({message.partition(): message.offset()})
    for number in writer.list_topics(topic, timeout=30).topics[topic].partitions:
        writer.produce(topic, key="end", partition=number, on_delivery=keep)
        writer.flush(30)
    reader = Consumer({**kafka(servers, ca), "group.id": "reader"})
    reader.assign([TopicPartition(topic, number, 0) for number in ends])
    while ends:
        message = reader.poll(30)
        if message is None or message.error():
            sys.exit(f"nothing to read: {message and message.error()}, but left: {ends}")
        key, number, offset = message.key().decode(), message.partition(), message.offset()
        if key != "end":
            headers = message.headers()
            show(message.value(), headers, key=key, partition=number, offset=offset)
        elif ends[number] == offset:
            del ends[number]


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
