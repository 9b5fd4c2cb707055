// Consume, transform, produce: every record of IN goes to OUT in a transaction of its own batch, the group's offsets
// with it. Ends when all of IN is processed, or with "forever" not at all. Whatever fails on the way is aborted, or begun
// anew by a new producer.
//
//   java -cp 'stock/*' Transfer.java BOOTSTRAP IN OUT TRANSACTIONAL_ID [forever]

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Transfer {
    static final int BATCH = 20;

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0], in = args[1], out = args[2], id = args[3];
        boolean ends = args.length < 5;
        while (true) {
            try (KafkaConsumer<String, String> consumer = consumer(bootstrap, id);
                 KafkaProducer<String, String> producer = producer(bootstrap, id)) {
                producer.initTransactions();
                consumer.subscribe(List.of(in));
                transfer(consumer, producer, out, in, ends);
                System.out.println("done");
                return;
            } catch (KafkaException e) {
                System.out.println("again after " + e);
                Thread.sleep(100);
            }
        }
    }

    static void transfer(KafkaConsumer<String, String> consumer, KafkaProducer<String, String> producer, String out, String in,
                         boolean ends) {
        while (true) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
            if (records.isEmpty()) {
                if (ends && finished(consumer, in)) return;
                continue;
            }
            List<ConsumerRecord<String, String>> batch = new ArrayList<>();
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            for (ConsumerRecord<String, String> record : records) {
                batch.add(record);
                offsets.put(new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1));
            }
            producer.beginTransaction();
            for (ConsumerRecord<String, String> record : batch)
                producer.send(new ProducerRecord<>(out, record.partition(), record.key(), record.value().toUpperCase()));
            producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
            producer.commitTransaction();
            System.out.println("committed " + batch.size());
        }
    }

    static boolean finished(KafkaConsumer<String, String> consumer, String in) {
        if (consumer.assignment().isEmpty()) return false;
        Map<TopicPartition, Long> ends = consumer.endOffsets(consumer.assignment());
        return ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue());
    }

    static KafkaConsumer<String, String> consumer(String bootstrap, String id) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", id + "-group");
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("isolation.level", "read_committed");
        settings.put("max.poll.records", String.valueOf(BATCH));
        settings.put("session.timeout.ms", "6000");
        settings.put("heartbeat.interval.ms", "500");
        settings.put("reconnect.backoff.max.ms", "200");
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    static KafkaProducer<String, String> producer(String bootstrap, String id) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("transactional.id", id);
        settings.put("transaction.timeout.ms", "30000");
        settings.put("reconnect.backoff.max.ms", "200");
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }
}
