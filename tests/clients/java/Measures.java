// Kafka's own measures of rates and tokens, to be compared with: reads events from standard input, one a line, and prints
// after each how long its client would have to wait, in ms, as the broker computes it.
//
//   KIND SAMPLES SECONDS      begins a new measure: rate, bounded (a rate with a longest wait) or tokens
//   TIME VALUE LIMIT          VALUE is recorded at TIME, in ms, against LIMIT
//
//   java -cp 'stock/*' Measures.java < events

import java.util.Scanner;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.metrics.MetricConfig;
import org.apache.kafka.common.metrics.Metrics;
import org.apache.kafka.common.metrics.Quota;
import org.apache.kafka.common.metrics.QuotaViolationException;
import org.apache.kafka.common.metrics.Sensor;
import org.apache.kafka.common.metrics.stats.Rate;
import org.apache.kafka.common.metrics.stats.TokenBucket;

public class Measures {
    public static void main(String[] args) {
        // Far from zero, where a bucket of tokens was filled last.
        long start = 1_000_000_000_000L;
        Scanner in = new Scanner(System.in);
        Sensor sensor = null;
        KafkaMetric metric = null;
        String kind = "";
        int samples = 0, seconds = 0, number = 0;
        StringBuilder out = new StringBuilder();
        Metrics metrics = new Metrics();
        while (in.hasNextLine()) {
            String[] words = in.nextLine().trim().split(" ");
            if (!Character.isDigit(words[0].charAt(0))) {
                kind = words[0];
                samples = Integer.parseInt(words[1]);
                seconds = Integer.parseInt(words[2]);
                number++;
                MetricName name = metrics.metricName("measure-" + number, "measures");
                sensor = metrics.sensor("measure-" + number);
                sensor.add(name, kind.equals("tokens") ? new TokenBucket() : new Rate(),
                    config(samples, seconds, Double.MAX_VALUE));
                metric = metrics.metric(name);
                continue;
            }
            long now = start + Long.parseLong(words[0]);
            metric.config(config(samples, seconds, Double.parseDouble(words[2])));
            long wait = 0;
            try {
                sensor.record(Double.parseDouble(words[1]), now, true);
            } catch (QuotaViolationException e) {
                if (kind.equals("tokens")) {
                    wait = Math.round(-e.value() / e.bound() * 1000);
                } else {
                    double window = ((Rate) e.metric().measurable()).windowSize(e.metric().config(), now);
                    wait = Math.round((e.value() - e.bound()) / e.bound() * window);
                }
                if (kind.equals("bounded")) {
                    wait = Math.min(wait, TimeUnit.SECONDS.toMillis(seconds));
                }
            }
            out.append(wait).append('\n');
        }
        System.out.print(out);
    }

    static MetricConfig config(int samples, int seconds, double limit) {
        return new MetricConfig().samples(samples).timeWindow(seconds, TimeUnit.SECONDS).quota(new Quota(limit, true));
    }
}
