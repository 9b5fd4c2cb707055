// Administers a topic, and reads it in a group whose members come and go. Compiles against the clients of 2.8 to 4.1.
//
//   java -cp 'stock/*' Everyday.java BOOTSTRAP TOPIC

import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Everyday {
    static final int PARTITIONS = 4, SHARE = 200;
    static String bootstrap, topic, group;
    static Admin admin;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        topic = args[1];
        group = topic + "-group";
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        administer();
        readByMembers();
        endOfGroupAndTopic();
        admin.close();
        System.out.println("ok");
    }

    static void administer() throws Exception {
        NewTopic created = new NewTopic(topic, PARTITIONS, (short) 1).configs(Map.of("retention.ms", "7200000"));
        admin.createTopics(List.of(created)).all().get();
        until("the topic", Everyday::listed);
        equal("7200000", retention());
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry("retention.ms", "3600000"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource(), List.of(set))).all().get();
        until("the config", () -> retention().equals("3600000"));
    }

    static void readByMembers() throws Exception {
        write(0, SHARE);
        Member one = new Member();
        equal(PARTITIONS, one.consumer.partitionsFor(topic).size());
        until("the first records", () -> allSeen(SHARE, one));
        Member two = new Member();
        until("two members", () -> share(List.of(2, 2), one, two));
        write(SHARE, 2 * SHARE);
        until("records of two members", () -> allSeen(2 * SHARE, one, two));
        two.consumer.close();
        until("one member", () -> share(List.of(PARTITIONS), one));
        write(2 * SHARE, 3 * SHARE);
        one.seen.addAll(two.seen);
        until("the last records", () -> allSeen(3 * SHARE, one));
        ConsumerGroupDescription described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        equal(1, described.members().size());
        equal("range", described.partitionAssignor());
        one.consumer.close();
    }

    static void endOfGroupAndTopic() throws Exception {
        equal(true, groups().contains(group));
        long committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().values().stream()
            .mapToLong(place -> place.offset()).sum();
        equal(3L * SHARE, committed);
        admin.deleteConsumerGroups(List.of(group)).all().get();
        equal(false, groups().contains(group));
        admin.deleteTopics(List.of(topic)).all().get();
        until("the end of the topic", () -> !listed());
    }

    static class Member {
        final Set<String> seen = new HashSet<>();
        final KafkaConsumer<String, String> consumer;

        Member() {
            Properties settings = new Properties();
            settings.put("bootstrap.servers", bootstrap);
            settings.put("group.id", group);
            settings.put("auto.offset.reset", "earliest");
            settings.put("enable.auto.commit", "false");
            settings.put("session.timeout.ms", "30000");
            settings.put("heartbeat.interval.ms", "300");
            settings.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
            consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
            consumer.subscribe(List.of(topic));
        }

        void turn() {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(50));
            for (ConsumerRecord<String, String> record : records) seen.add(record.value());
            if (!records.isEmpty()) consumer.commitSync();
        }
    }

    static boolean allSeen(int count, Member... members) {
        for (Member member : members) member.turn();
        Set<String> seen = Stream.of(members).flatMap(member -> member.seen.stream()).collect(Collectors.toSet());
        return seen.equals(IntStream.range(0, count).mapToObj(n -> "value " + n).collect(Collectors.toSet()));
    }

    static boolean share(List<Integer> shares, Member... members) {
        for (Member member : members) member.turn();
        return Stream.of(members).map(member -> member.consumer.assignment().size()).sorted().collect(Collectors.toList())
            .equals(shares);
    }

    static void write(int from, int to) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("enable.idempotence", "true");
        settings.put("compression.type", "lz4");
        try (KafkaProducer<String, String> producer =
                 new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int n = from; n < to; n++)
                producer.send(new ProducerRecord<>(topic, n % PARTITIONS, "key " + n, "value " + n));
        }
    }

    static ConfigResource resource() {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    static String retention() {
        try {
            return admin.describeConfigs(List.of(resource())).all().get().get(resource()).get("retention.ms").value();
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    static boolean listed() {
        try {
            return admin.listTopics().names().get().contains(topic);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    static Set<String> groups() throws Exception {
        return admin.listConsumerGroups().all().get().stream().map(listing -> listing.groupId()).collect(Collectors.toSet());
    }

    static void until(String what, BooleanSupplier holds) throws Exception {
        long deadline = System.nanoTime() + Duration.ofSeconds(120).toNanos();
        while (!holds.getAsBoolean()) {
            if (System.nanoTime() > deadline) throw new IllegalStateException("waited in vain for " + what);
            Thread.sleep(10);
        }
    }

    static void equal(Object expected, Object seen) {
        if (!expected.equals(seen)) throw new IllegalStateException("expected " + expected + ", saw " + seen);
    }
}
