# shellcheck shell=bash
# One Apache Kafka broker, private to this checkout: KRaft, no ZooKeeper, 127.0.0.1 only.

readonly KAFKA_HOME=$STATE/kafka
readonly KAFKA_POM=$DEVTOOLS/kafka/pom.xml
# Fetched once for all servers of this checkout.
readonly KAFKA_SHARED=$CHECKOUT/.dev/kafka
KAFKA_LIBS=$KAFKA_SHARED/libs-$(sha256sum <"$KAFKA_POM" | cut -c1-12)

# Java 17 or newer: what Kafka 4 needs.
java_find() {
  local java major
  for java in "${JAVA_HOME:-/nonexistent}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [[ -x $java ]] || continue
    major=$("$java" -version 2>&1 | sed -nE '1s/.*version "([0-9]+).*/\1/p')
    if ((${major:-0} >= 17)); then
      printf '%s' "$java"
      return 0
    fi
  done
  return 1
}

kafka_fetch() {
  [[ ! -d $KAFKA_LIBS ]] || return 0
  local version
  version=$(sed -nE 's/.*<kafka.version>(.*)<.*/\1/p' "$KAFKA_POM")
  step "fetching Apache Kafka $version with Maven, some 54 MB"
  mkdir -p "$KAFKA_SHARED"
  rm -rf "$KAFKA_SHARED"/libs-*
  mvn --batch-mode --quiet --file "$KAFKA_POM" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$KAFKA_LIBS.partial" >"$STATE/logs/maven.log" 2>&1 || {
    tail -n 20 "$STATE/logs/maven.log" >&2
    die 'Maven failed: the whole of what it said is in .dev/logs/maven.log'
  }
  mv "$KAFKA_LIBS.partial" "$KAFKA_LIBS"
  step_done
}

kafka_properties() {
  cat <<PROPERTIES
# Written by ./dev at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$FLEETLOG_KAFKA_CONTROLLER_PORT
controller.listener.names=CONTROLLER
listeners=BROKER://127.0.0.1:$FLEETLOG_KAFKA_PORT,PROXIED://127.0.0.1:$FLEETLOG_KAFKA_PROXIED_PORT,CONTROLLER://127.0.0.1:$FLEETLOG_KAFKA_CONTROLLER_PORT
advertised.listeners=BROKER://127.0.0.1:$FLEETLOG_KAFKA_PORT,PROXIED://127.0.0.1:$FLEETLOG_KAFKA_PROXY_PORT
listener.security.protocol.map=BROKER:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
log.dirs=$KAFKA_HOME/data

# Topics are made on purpose, by fleetlog, or not at all.
auto.create.topics.enable=false
delete.topic.enable=true
message.max.bytes=8388608

# One broker replicates to nobody.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# Nobody waits for stragglers to join a group, and tests delete their topics at once.
group.initial.rebalance.delay.ms=0
file.delete.delay.ms=1000
PROPERTIES
}

# A Kafka main class, with a heap that leaves room on a small machine.
kafka_java() {
  local java
  java=$(java_find) || die 'found no Java 17 or newer'
  KAFKA_JAVA=("$java" "$@"
    -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true
    -Dorg.slf4j.simpleLogger.defaultLogLevel=info
    -Dorg.slf4j.simpleLogger.showDateTime=true
    '-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss,SSS'
    -Dorg.slf4j.simpleLogger.log.state.change.logger=warn
    -Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients=warn
    -cp "$KAFKA_LIBS/*")
}

kafka_format() {
  [[ ! -f $KAFKA_HOME/data/meta.properties ]] || return 0
  step 'formatting the storage of Kafka'
  local cluster
  # A Kafka id is 16 bytes in URL-safe base64; one that starts with a dash would read as an option.
  cluster=A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c2-22)
  kafka_java -Xmx128m
  "${KAFKA_JAVA[@]}" kafka.tools.StorageTool format \
    --cluster-id "$cluster" --config "$KAFKA_HOME/server.properties" >"$STATE/logs/kafka-format.log" 2>&1 || {
    tail -n 20 "$STATE/logs/kafka-format.log" >&2
    die 'the storage of Kafka could not be formatted: .dev/logs/kafka-format.log'
  }
  step_done
}

kafka_start() {
  [[ -z $OUTSIDE_KAFKA_BROKERS ]] || return 0
  mkdir -p "$KAFKA_HOME"
  if running kafka; then
    [[ $(kafka_properties) != "$(<"$KAFKA_HOME/server.properties")" ]] || return 0
    kafka_stop
  fi
  kafka_fetch
  kafka_properties >"$KAFKA_HOME/server.properties"
  kafka_format
  step "starting Kafka on 127.0.0.1:$FLEETLOG_KAFKA_PORT"
  kafka_java -Xms256m -Xmx512m
  spawn kafka "$FLEETLOG_KAFKA_PORT $FLEETLOG_KAFKA_CONTROLLER_PORT $FLEETLOG_KAFKA_PROXIED_PORT" "${KAFKA_JAVA[@]}" kafka.Kafka "$KAFKA_HOME/server.properties"
  wait_until_ready kafka 60 kafka_ready
  step_done
}

kafka_ready() {
  grep -q 'Kafka Server started' "$STATE/logs/kafka.log" && listening "$FLEETLOG_KAFKA_PORT"
}

kafka_stop() {
  running kafka || return 0
  step 'stopping Kafka'
  stop kafka 30
  step_done
}
