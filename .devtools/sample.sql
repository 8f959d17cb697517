-- What `./dev up` shows of the fleet, once the sample traffic is projected.
SELECT serial, connectivity, firmware_version, battery, signal, last_report
  FROM fleet.devices
 ORDER BY serial
 LIMIT 25;

SELECT * FROM fleet.summary;
