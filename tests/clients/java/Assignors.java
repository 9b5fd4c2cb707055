// Kafka's own server-side assignors: one problem a line on standard input, its plan on standard output.
//
// ASSIGNOR same|different TOPIC:COUNT/... MEMBER,INSTANCE,TOPIC/...,TOPIC:PARTITION.PARTITION/... ...

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.ConsumerGroupPartitionAssignor;
import org.apache.kafka.coordinator.group.api.assignor.GroupAssignment;
import org.apache.kafka.coordinator.group.api.assignor.MemberAssignment;
import org.apache.kafka.coordinator.group.api.assignor.PartitionAssignorException;
import org.apache.kafka.coordinator.group.api.assignor.SubscriptionType;
import org.apache.kafka.coordinator.group.assignor.RangeAssignor;
import org.apache.kafka.coordinator.group.assignor.UniformAssignor;
import org.apache.kafka.coordinator.group.modern.Assignment;
import org.apache.kafka.coordinator.group.modern.GroupSpecImpl;
import org.apache.kafka.coordinator.group.modern.MemberSubscriptionAndAssignmentImpl;
import org.apache.kafka.coordinator.group.modern.SubscribedTopicDescriberImpl;
import org.apache.kafka.coordinator.group.modern.TopicMetadata;

public class Assignors {
    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder out = new StringBuilder();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.append(solve(line.split(" "))).append('\n');
        }
        System.out.print(out);
    }

    static String[] parts(String text, String separator) {
        return text.isEmpty() ? new String[0] : text.split(separator);
    }

    static String solve(String[] words) {
        ConsumerGroupPartitionAssignor assignor =
            words[0].equals("range") ? new RangeAssignor() : new UniformAssignor();
        SubscriptionType type =
            words[1].equals("same") ? SubscriptionType.HOMOGENEOUS : SubscriptionType.HETEROGENEOUS;
        Map<Uuid, TopicMetadata> topics = new HashMap<>();
        for (String topic : parts(words[2], "/")) {
            String[] named = topic.split(":");
            Uuid id = Uuid.fromString(named[0]);
            topics.put(id, new TopicMetadata(id, named[0], Integer.parseInt(named[1]), Collections.emptyMap()));
        }
        Map<String, MemberSubscriptionAndAssignmentImpl> members = new HashMap<>();
        Map<Uuid, Map<Integer, String>> owners = new HashMap<>();
        for (int at = 3; at < words.length; at++) {
            String[] fields = words[at].split(",", -1);
            Set<Uuid> subscribed = new HashSet<>();
            for (String topic : parts(fields[2], "/")) {
                subscribed.add(Uuid.fromString(topic));
            }
            Map<Uuid, Set<Integer>> planned = new HashMap<>();
            for (String topic : parts(fields[3], "/")) {
                String[] named = topic.split(":");
                Uuid id = Uuid.fromString(named[0]);
                Integer[] numbers = Arrays.stream(named[1].split("\\.")).map(Integer::valueOf).toArray(Integer[]::new);
                planned.put(id, new HashSet<>(Arrays.asList(numbers)));
                for (Integer partition : numbers) {
                    owners.computeIfAbsent(id, __ -> new HashMap<>()).put(partition, fields[0]);
                }
            }
            Optional<String> instance = fields[1].isEmpty() ? Optional.empty() : Optional.of(fields[1]);
            members.put(fields[0], new MemberSubscriptionAndAssignmentImpl(
                Optional.empty(), instance, subscribed, new Assignment(planned)));
        }
        try {
            GroupSpecImpl spec = new GroupSpecImpl(members, type, owners);
            return written(assignor.assign(spec, new SubscribedTopicDescriberImpl(topics)));
        } catch (PartitionAssignorException e) {
            return "exception";
        }
    }

    static String written(GroupAssignment assignment) {
        Map<String, MemberAssignment> members = new TreeMap<>(assignment.members());
        StringBuilder out = new StringBuilder();
        members.forEach((member, part) -> {
            StringBuilder all = new StringBuilder();
            part.partitions().entrySet().stream()
                .filter(entry -> !entry.getValue().isEmpty())
                .sorted((one, other) -> compare(one.getKey(), other.getKey()))
                .forEach(entry -> {
                    all.append(all.length() == 0 ? "" : "/").append(entry.getKey()).append(':');
                    String separator = "";
                    for (Integer partition : new TreeSet<>(entry.getValue())) {
                        all.append(separator).append(partition);
                        separator = ".";
                    }
                });
            if (all.length() > 0) {
                out.append(out.length() == 0 ? "" : " ").append(member).append('=').append(all);
            }
        });
        return out.toString();
    }

    // By their bytes.
    static int compare(Uuid one, Uuid other) {
        int most = Long.compareUnsigned(one.getMostSignificantBits(), other.getMostSignificantBits());
        return most != 0 ? most
            : Long.compareUnsigned(one.getLeastSignificantBits(), other.getLeastSignificantBits());
    }
}
