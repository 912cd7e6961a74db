-- Acme Freight's orders and money. Run once on an empty file; makes the same rows every time.
begin;

create table accounts (
  id text primary key,
  name text not null,
  city text not null,
  street text not null
) strict, without rowid;
insert into accounts values
  ('acct_alpha', 'Alpha Foods', 'Hamburg', 'Am Sandtorkai 12'),
  ('acct_bravo', 'Bravo Pharma', 'Leipzig', 'Torgauer Straße 230'),
  ('acct_charlie', 'Charlie Tools', 'München', 'Hansastraße 7');

create table depots (code text primary key, city text not null) strict, without rowid;
insert into depots values
  ('BER', 'Berlin'), ('CGN', 'Köln'), ('HAM', 'Hamburg'), ('LEJ', 'Leipzig'), ('MUC', 'München');

-- Numbers that look like chance and are the same every time: n, and four draws from 0 to 65535.
create temp table draws as
with recursive numbers (n) as (values (1) union all select n + 1 from numbers where n < 9000)
select
  n,
  ((n * 1103515245 + 12345) % 2147483648) / 32768 as a,
  (((n + 7919) * 1140671485 + 12820163) % 2147483648) / 32768 as b,
  (((n + 104729) * 214013 + 2531011) % 2147483648) / 32768 as c
from numbers;

-- One row for each account and day of the last 730 days.
create table usage (
  account_id text not null references accounts,
  day text not null,
  shipments integer not null,
  parcels integer not null,
  kilograms real not null,
  primary key (account_id, day)
) strict, without rowid;
insert into usage
select
  case n % 3 when 0 then 'acct_alpha' when 1 then 'acct_bravo' else 'acct_charlie' end,
  date('2026-11-22', '-' || ((n - 1) / 3) || ' days'),
  4 + a % 23,
  12 + b % 140,
  round(90 + c % 4000 / 3.0, 1)
from draws where n <= 3 * 730;

create table shipments (
  id text primary key,
  account_id text not null references accounts,
  depot text not null references depots,
  destination text not null,
  day text not null,
  promised_on text not null,
  status text not null check (status in ('planned', 'under_way', 'delivered', 'late', 'lost')),
  refrigerated integer not null check (refrigerated in (0, 1)),
  vehicle_id text not null
) strict, without rowid;
insert into shipments
select
  'shp_' || (100000 + n),
  case n % 3 when 0 then 'acct_charlie' when 1 then 'acct_alpha' else 'acct_bravo' end,
  json_extract('["BER","CGN","HAM","LEJ","MUC"]', '$[' || (a % 5) || ']'),
  json_extract('["Aarhus","Antwerpen","Basel","Brno","Bremen","Dresden","Freiburg","Gdańsk","Göteborg","Graz","Lille","Linz","Lyon","Malmö","Poznań","Rotterdam","Trieste","Wien","Wrocław","Zürich"]', '$[' || (b % 20) || ']'),
  date('2026-12-05', '-' || (n / 8) || ' days'),
  date('2026-12-05', '-' || (n / 8) || ' days', '+' || (1 + c % 4) || ' days'),
  case
    when n < 100 then 'planned'
    when n < 160 then iif(c % 7 = 0, 'late', 'under_way')
    else json_extract('["delivered","delivered","delivered","delivered","delivered","delivered","late"]', '$[' || (c % 7) || ']')
  end,
  n % 5 = 0,
  'veh_' || (700 + (n % 3) * 20 + b % 20)
from draws where n <= 3000;
update shipments set status = 'lost' where id in ('shp_100777', 'shp_101333', 'shp_102220');
create index shipments_by_account_and_day on shipments (account_id, day);

-- Three for each shipment.
create table parcels (
  id text primary key,
  shipment_id text not null references shipments,
  account_id text not null references accounts,
  weight_grams integer not null,
  status text not null check (status in ('announced', 'loaded', 'delivered', 'missing')),
  scanned_at text
) strict, without rowid;
insert into parcels
select
  'pcl_' || (2000000 + d.n),
  s.id,
  s.account_id,
  250 + d.b % 30000,
  case s.status when 'planned' then 'announced' when 'delivered' then 'delivered' when 'lost' then 'missing' else 'loaded' end,
  case when s.status <> 'planned' then s.day || 'T' || printf('%02d:%02d:00Z', 5 + d.a % 17, d.c % 60) end
from draws d
join shipments s on s.id = 'shp_' || (100001 + (d.n - 1) / 3);
create index parcels_by_shipment on parcels (shipment_id);

create table invoices (
  id text primary key,
  account_id text not null references accounts,
  issued_on text not null,
  due_on text not null,
  amount_cents integer not null check (amount_cents > 0),
  status text not null check (status in ('open', 'paid', 'overdue', 'refunded')),
  refunded_cents integer not null default 0,
  note text
) strict, without rowid;
insert into invoices (id, account_id, issued_on, due_on, amount_cents, status)
select
  'inv_' || (500000 + n),
  case n % 3 when 0 then 'acct_charlie' when 1 then 'acct_alpha' else 'acct_bravo' end,
  date('2026-11-20', '-' || n || ' days'),
  date('2026-11-20', '-' || n || ' days', '+30 days'),
  1900 + (a * 7 + b) % 480000,
  case when n <= 30 then 'open' when n <= 90 and c % 4 = 0 then 'overdue' else 'paid' end
from draws where n <= 720;
create index invoices_by_account on invoices (account_id, issued_on);

drop table draws;
commit;
