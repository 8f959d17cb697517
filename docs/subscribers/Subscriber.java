import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Keeps each provider device's newest reading by stream path, from fleetlog's readings.
 *
 * <p>Run it without building anything: {@code java -cp 'LIBS/*' Subscriber.java BROKERS [once [PREFIX [GROUP]]]}, where
 * LIBS holds kafka-clients, slf4j-api and jackson-databind with what they need. With {@code once} it ends where the log
 * ends now, otherwise it follows the log until it is interrupted.
 */
public final class Subscriber {
    /** What happened when: compared in this order, as text. */
    record Happened(String time, String sequence, String id) implements Comparable<Happened> {
        private static final Comparator<Happened> ORDER =
                Comparator.comparing(Happened::time).thenComparing(Happened::sequence).thenComparing(Happened::id);

        @Override
        public int compareTo(Happened other) {
            return ORDER.compare(this, other);
        }
    }

    /** Devices' numbers are kept as sent: 1.50 stays 1.50, and a counter of 64 bits stays whole. */
    private static final ObjectMapper JSON = new ObjectMapper()
            .setNodeFactory(JsonNodeFactory.withExactBigDecimals(true))
            .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS);

    /** By subject and path. Keep this in a database, guarded by the same comparison: then repeats change nothing. */
    private final Map<String, Happened> newest = new HashMap<>();

    private String log;

    public static void main(String[] arguments) throws Exception {
        String brokers = arguments.length > 0 ? arguments[0] : "127.0.0.1:9092";
        boolean once = arguments.length > 1 && arguments[1].equals("once");
        String prefix = arguments.length > 2 ? arguments[2] : "fleetlog";
        String group = arguments.length > 3 ? arguments[3] : "subscriber-example-java";

        var settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        // Offsets are committed after the work: at least once, never less.
        settings.put("enable.auto.commit", "false");

        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            new Subscriber().follow(consumer, prefix + ".device-readings.v1", once);
        }
    }

    private void follow(KafkaConsumer<String, String> consumer, String topic, boolean once) throws Exception {
        consumer.subscribe(List.of(topic));
        while (true) {
            for (var record : consumer.poll(Duration.ofSeconds(1))) {
                learn(record);
            }
            // Commits what poll has given out, all of which has been learned by now.
            consumer.commitSync();
            if (once && !consumer.assignment().isEmpty() && atEnd(consumer)) {
                return;
            }
        }
    }

    private static boolean atEnd(KafkaConsumer<String, String> consumer) {
        var ends = consumer.endOffsets(consumer.assignment());
        return ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue());
    }

    private void learn(ConsumerRecord<String, String> record) throws Exception {
        String logId = header(record, "ce_logid");
        if (log != null && !log.equals(logId)) {
            // Topics that were deleted and made again are another log: what was kept means nothing then. A real
            // subscriber keeps the log's id beside what it learned.
            throw new IllegalStateException("this is log " + logId + ", no longer " + log);
        }
        log = logId;
        // Pass over what you do not know: log entries here, and types of a later fleetlog.
        if (!"io.fleetlog.reading.received.v1".equals(header(record, "ce_type"))) {
            return;
        }
        var data = JSON.readTree(record.value());
        long sequence = Long.parseLong(header(record, "ce_sequence"));
        int index = 0;
        for (var reading : data.get("readings")) {
            // One delivery is one record; each reading in it has a key of its own.
            var time = reading.hasNonNull("at") ? reading.get("at").asText() : header(record, "ce_time");
            var happened = new Happened(time, String.format("%019d", sequence + index), header(record, "ce_id"));
            index += 1;
            String subject = record.key() + " " + data.get("path").asText();
            Happened held = newest.get(subject);
            if (held == null || held.compareTo(happened) < 0) {
                newest.put(subject, happened);
                var shown = reading.has("data") ? reading.get("data").toString() : reading.get("data_base64").asText();
                System.out.println(happened.time() + "  " + subject + "  " + shown);
            }
        }
    }

    /** A header as text. The last of a repeated one counts; a missing one is null. */
    private static String header(ConsumerRecord<?, ?> record, String name) {
        var found = record.headers().lastHeader(name);
        return found == null || found.value() == null ? null : new String(found.value(), StandardCharsets.UTF_8);
    }
}
