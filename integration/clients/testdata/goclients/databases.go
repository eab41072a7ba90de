package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/lib/pq"
)

const database = "postgres://postgres@%s:5432/postgres?sslmode=disable"

// pgxClient queries, and again after its connection has been idle in the pool.
func pgxClient(host string, o options) error {
	config, err := pgxpool.ParseConfig(fmt.Sprintf(database, host))
	if err != nil {
		return err
	}
	config.MaxConns = 1
	if o["ShouldPing"] == "false" { // by default it pings a connection that was idle for a second
		config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	}
	if d := o.duration("MaxConnIdleTime"); d > 0 {
		config.MaxConnIdleTime, config.HealthCheckPeriod = d, d/2
	}
	ctx := context.Background()
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	return twice(6*time.Second, func() error {
		_, err := pool.Exec(ctx, "select 1")
		return err
	})
}

// pqClient does the same with database/sql.
func pqClient(host string, o options) error {
	db, err := sql.Open("postgres", fmt.Sprintf(database, host))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	db.SetConnMaxIdleTime(o.duration("ConnMaxIdleTime"))
	return twice(6*time.Second, func() error {
		_, err := db.Exec("select 1")
		return err
	})
}
