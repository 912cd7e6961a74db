-- What Acme Freight's trucks report. Run once on an empty file; makes the same rows every time.
begin;

-- Twenty for each account, four at each depot.
create table vehicles (
  id text primary key,
  account_id text not null,
  plate text not null,
  depot text not null,
  refrigerated integer not null check (refrigerated in (0, 1)),
  payload_kilograms integer not null,
  odometer_km integer not null
) strict, without rowid;
insert into vehicles
with recursive numbers (n) as (values (0) union all select n + 1 from numbers where n < 59)
select
  'veh_' || (700 + n),
  case n / 20 when 0 then 'acct_charlie' when 1 then 'acct_alpha' else 'acct_bravo' end,
  'HH AF ' || (1000 + (n * 7919) % 9000),
  json_extract('["BER","CGN","HAM","LEJ","MUC"]', '$[' || (n % 5) || ']'),
  n % 2,
  json_extract('[3500,7500,12000,24000]', '$[' || (n % 4) || ']'),
  40000 + (n * 104729) % 700000
from numbers;

-- Twelve for each refrigerated shipment that has left: those whose number ends in 0 or 5, from shp_100100. Every fortieth
-- gets too warm.
create table readings (
  shipment_id text not null,
  measured_at text not null,
  account_id text not null,
  vehicle_id text not null references vehicles,
  celsius real not null,
  primary key (shipment_id, measured_at)
) strict, without rowid;
insert into readings
with recursive numbers (n) as (values (0) union all select n + 1 from numbers where n < 7199),
  trips as (select n, 5 * (1 + n / 12) as shipment, n % 12 as hour, ((n * 1103515245 + 12345) % 2147483648) / 32768 as a from numbers)
select
  'shp_' || (100000 + shipment),
  date('2026-12-05', '-' || (shipment / 8) || ' days') || 'T' || printf('%02d:00:00Z', 6 + hour),
  case shipment % 3 when 0 then 'acct_charlie' when 1 then 'acct_alpha' else 'acct_bravo' end,
  'veh_' || (700 + (shipment % 3) * 20 + 1 + 2 * (shipment % 10)),
  round(3.5 + (a % 30) / 10.0 + iif(shipment % 200 = 0 and hour > 6, 5.0, 0.0), 1)
from trips
where shipment >= 100;

commit;
