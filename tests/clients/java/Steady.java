// Writes numbered records at acks=all until its standard input ends: one by one, or three and the group's offset in a
// transaction each, with one more transaction that is open as long as it is told. Retries are the client's own; what
// the client gives up on is printed as "failed".
//
//   java -cp 'stock/*' Steady.java BOOTSTRAP TOPIC                      plain, to all partitions
//   java -cp 'stock/*' Steady.java BOOTSTRAP TOPIC TRANSACTIONAL_ID     transactions, to partition 0; on lines of the
//     standard input "open", "commit" and "abort" the other transaction is opened and ended, in partition 1

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringSerializer;

public class Steady {
    static volatile boolean ends = false;
    static String topic;

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0], id = args.length > 2 ? args[2] : null;
        topic = args[1];
        Thread writer = new Thread(() -> {
            try {
                if (id == null) plain(bootstrap); else transactions(bootstrap, id);
            } catch (Exception e) {
                System.out.println("failed for good: " + e);
            }
        });
        writer.start();
        KafkaProducer<String, String> other = id == null ? null : producer(bootstrap, id + "-open");
        if (other != null) other.initTransactions();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        int opened = 0;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                if (line.equals("open")) {
                    other.beginTransaction();
                    other.send(new ProducerRecord<>(topic, 1, null, ++opened + " first")).get();
                } else {
                    other.send(new ProducerRecord<>(topic, 1, null, opened + " " + line)).get();
                    if (line.equals("commit")) other.commitTransaction(); else other.abortTransaction();
                }
                System.out.println(line + " " + opened);
            } catch (Exception e) {
                System.out.println("failed to " + line + ": " + e);
            }
        }
        ends = true;
        writer.join();
        System.exit(0);
    }

    static void plain(String bootstrap) throws Exception {
        int next = 0;
        try (KafkaProducer<String, String> producer = producer(bootstrap, null)) {
            while (!ends) {
                int number = next++;
                producer.send(new ProducerRecord<>(topic, number % 3, null, String.valueOf(number)), (meta, e) -> {
                    if (e != null) System.out.println("failed " + number + ": " + e);
                });
                if (number % 100 == 0) System.out.println("sent " + number);
                Thread.sleep(2);
            }
            producer.flush();
        }
        System.out.println("done " + next);
    }

    static void transactions(String bootstrap, String id) throws Exception {
        KafkaProducer<String, String> producer = producer(bootstrap, id);
        producer.initTransactions();
        int next = 0;
        while (!ends) {
            producer.beginTransaction();
            for (int i = 0; i < 3; i++) producer.send(new ProducerRecord<>(topic, 0, null, String.valueOf(next++)));
            producer.sendOffsetsToTransaction(
                Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(next)), new ConsumerGroupMetadata(id + "-group"));
            producer.commitTransaction();
            System.out.println("committed " + next);
        }
        producer.close();
        System.out.println("done " + next);
    }

    static KafkaProducer<String, String> producer(String bootstrap, String id) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("acks", "all");
        settings.put("linger.ms", "0");
        settings.put("reconnect.backoff.max.ms", "200");
        if (id != null) {
            settings.put("transactional.id", id);
            settings.put("transaction.timeout.ms", "120000");
        }
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }
}
