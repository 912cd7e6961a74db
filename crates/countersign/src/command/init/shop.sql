create table orders (
    id text primary key,
    customer text not null,
    status text not null,
    placed_on text not null,
    total_cents integer not null
);
with recursive n(i) as (values (1) union all select i + 1 from n where i < 60)
insert into orders
select printf('ord_%04d', i),
       case i % 3 when 0 then 'ann' when 1 then 'bob' else 'eve' end,
       case i % 7 when 0 then 'returned' when 1 then 'open' else 'shipped' end,
       date('2026-11-01', printf('-%d days', i)),
       900 + (i * 7919) % 20000
from n;
