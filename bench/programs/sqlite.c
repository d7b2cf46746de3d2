/* SQLite, the distribution's library, on a database in memory: rows inserted, found by index, joined and grouped. */
#define ROUNDS 120
#include "frame.h"
#include <sqlite3.h>

#define ORDERS 1500
#define CUSTOMERS 100

static sqlite3 *db;
static uint32_t sum;

static void run(const char *sql)
{
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) fail(why);
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) fail(sqlite3_errmsg(db));
    return statement;
}

/* Sums what a query gives, and readies it for the next time. */
static void query(sqlite3_stmt *statement)
{
    while (sqlite3_step(statement) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) sum = sum * 31 + (uint32_t)sqlite3_column_int(statement, i);
    }
    sqlite3_reset(statement);
}

static void query_once(const char *sql)
{
    sqlite3_stmt *statement = prepare(sql);
    query(statement);
    sqlite3_finalize(statement);
}

static void setup(void) {}

static uint32_t work(void)
{
    random_state = 99;
    sum = 0;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK) fail("sqlite3_open");
    run("create table customer(id integer primary key, name text, city text);"
        "create table orders(id integer primary key, customer integer, amount integer, note text);"
        "begin;");
    sqlite3_stmt *statement = prepare("insert into customer values(?, ?, ?)");
    for (int i = 0; i < CUSTOMERS; i++) {
        char name[32];
        snprintf(name, sizeof name, "customer %d", (int)(random_number() % 1000));
        sqlite3_bind_int(statement, 1, i);
        sqlite3_bind_text(statement, 2, name, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(statement, 3, i % 3 ? i % 7 ? "Lyon" : "Turin" : "Ghent", -1, SQLITE_STATIC);
        query(statement);
    }
    sqlite3_finalize(statement);
    statement = prepare("insert into orders values(?, ?, ?, ?)");
    for (int i = 0; i < ORDERS; i++) {
        sqlite3_bind_int(statement, 1, i);
        sqlite3_bind_int(statement, 2, (int)(random_number() % CUSTOMERS));
        sqlite3_bind_int(statement, 3, (int)(random_number() % 10000));
        sqlite3_bind_text(statement, 4, i % 5 ? "by post" : "to be fetched", -1, SQLITE_STATIC);
        query(statement);
    }
    sqlite3_finalize(statement);
    run("commit; create index orders_amount on orders(amount); create index orders_customer on orders(customer)");

    statement = prepare("select count(*), sum(id) from orders where amount between ? and ?");
    for (int i = 0; i < 200; i++) {
        int from = (int)(random_number() % 9900);
        sqlite3_bind_int(statement, 1, from);
        sqlite3_bind_int(statement, 2, from + 100);
        query(statement);
    }
    sqlite3_finalize(statement);
    query_once("select c.city, count(*), sum(o.amount), max(o.id) from customer c join orders o on o.customer = c.id group by c.city order by 3");
    query_once("select o.id, o.amount from customer c join orders o on o.customer = c.id where c.name like '%7%' order by o.amount desc limit 50");
    query_once("select note, avg(amount) > 5000, count(distinct customer) from orders group by note");
    run("update orders set amount = amount + 1 where customer < 30; delete from orders where amount % 3 = 0");
    query_once("select count(*), sum(amount) from orders");
    sqlite3_close(db);
    return sum;
}
