package oms

import (
	"context"
	"log/slog"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Option sets something for [Open].
type Option func(*settings)

type settings struct {
	registry    *spi.Registry
	credentials func(context.Context) (spi.Credentials, error)
	logger      *slog.Logger
}

// WithRegistry looks drivers up in r instead of spi.DefaultRegistry.
func WithRegistry(r *spi.Registry) Option { return func(s *settings) { s.registry = r } }

// WithCredentials sets the source of the account's secrets. The driver asks it
// for each new connection, so that secrets can rotate; it may be called
// concurrently. Secrets come this way only: they are part of no URL,
// attribute, error or log line of this package (G39).
func WithCredentials(source func(ctx context.Context) (spi.Credentials, error)) Option {
	return func(s *settings) { s.credentials = source }
}

// WithLogger sets where the driver and the access point log what concerns no
// single call. Default: slog.Default().
func WithLogger(l *slog.Logger) Option { return func(s *settings) { s.logger = l } }

// Open opens the messaging system that url names by its driver, and returns
// when it is known to be there. ctx bounds the call only (G05); the access
// point must be closed.
//
// Errors: CodeMalformedURL for the URL, CodeDriverUnavailable for a driver that
// is not linked into the program (the text lists the known ones),
// CodeMalformedVersion and CodeIncompatibleVersion for a driver of another
// specification (both match CodeDriverUnavailable too), and whatever the driver
// answers.
func Open(ctx context.Context, url string, opts ...Option) (om.AccessPoint, error) {
	s := settings{registry: spi.DefaultRegistry, logger: slog.Default()}
	for _, set := range opts {
		set(&s)
	}
	if s.registry == nil {
		s.registry = spi.DefaultRegistry
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	u, err := om.ParseURL(url)
	if err != nil {
		return nil, err
	}
	if err := ended(ctx, "open", u.String()); err != nil {
		return nil, err
	}
	driver, err := s.registry.Lookup(u.Driver)
	if err != nil {
		return nil, err
	}
	info := driver.Info()
	if err := checkSpecVersion(info); err != nil {
		return nil, err
	}
	conn, err := driver.Open(ctx, spi.Config{URL: u.Clone(), Credentials: s.credentials, Logger: s.logger})
	if err != nil {
		return nil, om.WrapError(err, "open", u.String())
	}
	return newAccessPoint(conn, info.SpecVersion, u.Attributes(), s.logger), nil
}
