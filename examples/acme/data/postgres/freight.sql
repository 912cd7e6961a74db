-- Acme Freight's orders and money, as freight.sql has them, for PostgreSQL 13 or later. Run once, as an
-- administrator, on an empty database; makes the same rows every time.
begin;

-- The role that the gateway speaks as: it reads, changes what its tools change, and row-level security holds for it. Give it a password.
do $$ begin
  if not exists (select from pg_roles where rolname = 'acme_gateway') then
    create role acme_gateway login nosuperuser nobypassrls nocreatedb nocreaterole noinherit;
  end if;
end $$;

create table accounts (id text primary key, name text not null, city text not null, street text not null);
insert into accounts values
  ('acct_alpha', 'Alpha Foods', 'Hamburg', 'Am Sandtorkai 12'),
  ('acct_bravo', 'Bravo Pharma', 'Leipzig', 'Torgauer Straße 230'),
  ('acct_charlie', 'Charlie Tools', 'München', 'Hansastraße 7');

create table depots (code text primary key, city text not null);
insert into depots values
  ('BER', 'Berlin'), ('CGN', 'Köln'), ('HAM', 'Hamburg'), ('LEJ', 'Leipzig'), ('MUC', 'München');

-- Numbers that look like chance and are the same every time: n, and three draws from 0 to 65535.
create temp table draws on commit drop as
select
  n,
  ((n * 1103515245 + 12345) % 2147483648) / 32768 as a,
  (((n + 7919) * 1140671485 + 12820163) % 2147483648) / 32768 as b,
  (((n + 104729) * 214013 + 2531011) % 2147483648) / 32768 as c
from generate_series(1::bigint, 9000) as numbers (n);

-- One row for each account and day of the last 730 days.
create table usage (
  account_id text not null references accounts,
  day date not null,
  shipments integer not null,
  parcels integer not null,
  kilograms double precision not null,
  primary key (account_id, day)
);
insert into usage
select
  case n % 3 when 0 then 'acct_alpha' when 1 then 'acct_bravo' else 'acct_charlie' end,
  date '2026-11-22' - ((n - 1) / 3)::int,
  4 + a % 23,
  12 + b % 140,
  round(90 + c % 4000 / 3.0, 1)
from draws where n <= 3 * 730;

create table shipments (
  id text primary key,
  account_id text not null references accounts,
  depot text not null references depots,
  destination text not null,
  day date not null,
  promised_on date not null,
  status text not null check (status in ('planned', 'under_way', 'delivered', 'late', 'lost')),
  refrigerated boolean not null,
  vehicle_id text not null
);
insert into shipments
select
  'shp_' || (100000 + n),
  case n % 3 when 0 then 'acct_charlie' when 1 then 'acct_alpha' else 'acct_bravo' end,
  (array['BER', 'CGN', 'HAM', 'LEJ', 'MUC'])[a % 5 + 1],
  (array['Aarhus', 'Antwerpen', 'Basel', 'Brno', 'Bremen', 'Dresden', 'Freiburg', 'Gdańsk', 'Göteborg', 'Graz',
    'Lille', 'Linz', 'Lyon', 'Malmö', 'Poznań', 'Rotterdam', 'Trieste', 'Wien', 'Wrocław', 'Zürich'])[b % 20 + 1],
  date '2026-12-05' - (n / 8)::int,
  date '2026-12-05' - (n / 8)::int + (1 + c % 4)::int,
  case
    when n < 100 then 'planned'
    when n < 160 then case when c % 7 = 0 then 'late' else 'under_way' end
    else case when c % 7 = 6 then 'late' else 'delivered' end
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
  scanned_at timestamptz
);
insert into parcels
select
  'pcl_' || (2000000 + d.n),
  s.id,
  s.account_id,
  250 + d.b % 30000,
  case s.status when 'planned' then 'announced' when 'delivered' then 'delivered' when 'lost' then 'missing' else 'loaded' end,
  case when s.status <> 'planned' then
    (s.day + make_interval(hours => (5 + d.a % 17)::int, mins => (d.c % 60)::int)) at time zone 'UTC'
  end
from draws d
join shipments s on s.id = 'shp_' || (100001 + (d.n - 1) / 3);
create index parcels_by_shipment on parcels (shipment_id);

create table invoices (
  id text primary key,
  account_id text not null references accounts,
  issued_on date not null,
  due_on date not null,
  amount_cents integer not null check (amount_cents > 0),
  status text not null check (status in ('open', 'paid', 'overdue', 'refunded')),
  refunded_cents integer not null default 0,
  note text
);
insert into invoices (id, account_id, issued_on, due_on, amount_cents, status)
select
  'inv_' || (500000 + n),
  case n % 3 when 0 then 'acct_charlie' when 1 then 'acct_alpha' else 'acct_bravo' end,
  date '2026-11-20' - n::int,
  date '2026-11-20' - n::int + 30,
  1900 + (a * 7 + b) % 480000,
  case when n <= 30 then 'open' when n <= 90 and c % 4 = 0 then 'overdue' else 'paid' end
from draws where n <= 720;
create index invoices_by_account on invoices (account_id, issued_on);

-- Rows are the caller's tenant's or nobody's: where none is told, or an empty one, there are no rows.
-- `force` makes it hold for the tables' owner, too.
alter table accounts enable row level security, force row level security;
alter table usage enable row level security, force row level security;
alter table shipments enable row level security, force row level security;
alter table parcels enable row level security, force row level security;
alter table invoices enable row level security, force row level security;
create policy own on accounts using (id = nullif(current_setting('app.tenant', true), ''));
create policy own on usage using (account_id = nullif(current_setting('app.tenant', true), ''));
create policy own on shipments using (account_id = nullif(current_setting('app.tenant', true), ''));
create policy own on parcels using (account_id = nullif(current_setting('app.tenant', true), ''));
create policy own on invoices using (account_id = nullif(current_setting('app.tenant', true), ''));
grant select on accounts, usage, shipments, parcels, invoices to acme_gateway;
-- What the tools with an effect change, and nothing beside it.
grant update (city, street) on accounts to acme_gateway;
grant update (status, refunded_cents, note) on invoices to acme_gateway;

commit;
