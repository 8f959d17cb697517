-- What `./dev up` shows of the fleet, once the sample traffic is projected.
SELECT serial, connectivity, connectivity_basis AS basis, firmware_version AS firmware, battery, signal,
       date_trunc('second', last_report_at) AS last_report
  FROM fleet.devices
 ORDER BY serial
 LIMIT 25;

SELECT * FROM fleet.summary;
