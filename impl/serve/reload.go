package serve

import (
	"bytes"
	"context"
	"os"
	"time"
)

// lookEvery is how often the configuration file is looked at.
const lookEvery = 2 * time.Second

// follow reads the configuration again when its file changes or somebody asks
// for it. Certificates, token keys and files of users follow by themselves.
func (h *host) follow(ctx context.Context) {
	look := func() []byte {
		if h.source.File == "" {
			return nil
		}
		content, err := os.ReadFile(h.source.File)
		if err != nil {
			return []byte(err.Error())
		}
		return content
	}
	last := look()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			now := look()
			if bytes.Equal(now, last) {
				continue
			}
			last = now
		case <-h.options.Hangup:
			last = look()
		case <-ctx.Done():
			return
		}
		h.reload()
	}
}

// reload takes over what can change while the server runs: the level of the log.
func (h *host) reload() {
	fresh, err := Load(h.source)
	if err == nil {
		fresh.Memory = h.Memory
		err = fresh.Check()
	}
	if err != nil {
		h.log.Error("the new configuration cannot be used; the old one stays", "error", err)
		return
	}
	level, _ := fresh.Log.level() // was checked
	if level != h.level.Level() {
		h.level.Set(level)
	}
	h.Log.Level = fresh.Log.Level
	var later []string
	for _, s := range Settings() {
		if s.Text(&fresh.Config) != s.Text(&h.Config) {
			later = append(later, s.Key)
		}
	}
	if len(later) > 0 {
		h.log.Warn("the configuration was read again; these settings hold from the next start on", "settings", later)
		return
	}
	h.log.Info("the configuration was read again", "log.level", h.Log.Level)
}
