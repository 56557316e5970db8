package oms

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// producerConfig applies the options, fills in the defaults and refuses values
// out of range.
func producerConfig(opts []om.ProducerOption) (om.ProducerConfig, error) {
	var cfg om.ProducerConfig
	for _, set := range opts {
		set(&cfg)
	}
	var c checks
	c.number("BatchMessages", &cfg.BatchMessages, 1024)
	c.number("BatchBytes", &cfg.BatchBytes, 1<<20)
	c.duration("Linger", &cfg.Linger, 0)
	c.number("BufferMessages", &cfg.BufferMessages, 65536)
	c.number("BufferBytes", &cfg.BufferBytes, 64<<20)
	c.retry(&cfg.Retry)
	if cfg.SendTimeout == 0 {
		cfg.SendTimeout = 30 * time.Second
	}
	cfg.Interceptors = slices.Clone(cfg.Interceptors)
	return cfg, c.err("new producer")
}

func consumerConfig(opts []om.ConsumerOption, logger *slog.Logger) (om.ConsumerConfig, error) {
	var cfg om.ConsumerConfig
	for _, set := range opts {
		set(&cfg)
	}
	var c checks
	if cfg.Group == "" {
		cfg.Group = "default"
	}
	if !utf8.ValidString(cfg.Group) {
		c = append(c, fmt.Errorf("the group %q is not valid UTF-8", cfg.Group))
	}
	c.duration("Lease", &cfg.Lease, 30*time.Second)
	c.member(&cfg)
	c.number("Concurrency", &cfg.Concurrency, 1)
	c.number("Prefetch", &cfg.Prefetch, 256)
	c.number("HandlerBatch", &cfg.HandlerBatch, 64)
	c.duration("NackDelay", &cfg.NackDelay, 0)
	c.retry(&cfg.Retry)
	if cfg.OnError == nil {
		cfg.OnError = func(err error) { logger.Error("openmessaging consumer", "error", err) }
	}
	cfg.Interceptors = slices.Clone(cfg.Interceptors)
	return cfg, c.err("new consumer")
}
