#!/bin/sh
# Shows fleetlog's log with kcat: one line of attributes and one of data for each record.
#
#   apt-get install kcat
#   KAFKA_BROKERS=127.0.0.1:9092 ./tail.sh            all events so far, then what comes
#   ./tail.sh --once                                  … and end where the log ends
#   ./tail.sh --once | grep --after-context=1 'key=0b8a4a52-…/id:686d…'
set -eu

brokers=${KAFKA_BROKERS:-127.0.0.1:9092}
topic=${FLEETLOG_TOPIC:-fleetlog.device-events.v1}
end=
if [ "${1:-}" = --once ]; then
  end=-e
fi

# -u: each record is shown when it comes. %h: all headers.
exec kcat -C -u -q $end -b "$brokers" -t "$topic" -o beginning \
  -f 'partition=%p offset=%o key=%k %h\n  %s\n'
