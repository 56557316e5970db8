package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// MaxJSON is how many bytes of JSON ReadJSON takes.
const MaxJSON = 64 << 20

// WriteJSON writes the report as indented JSON with a newline at its end. Equal
// reports give equal bytes: fields are in the order of the types, the verdicts of
// counts are sorted by name, and lists that are nil become empty. Text is written
// as it is, with < and > not escaped; bytes that are not UTF-8 become U+FFFD.
//
// It fails when the writer does, and when a time is not a number that JSON has
// (NaN or infinite); then nothing is written. It does not change the report, so
// that it may be called at the same time as other readers of r.
func WriteJSON(w io.Writer, r *Report) error {
	full := *r
	full.Target.Capabilities = append([]string{}, r.Target.Capabilities...)
	full.Profiles = append([]Profile{}, r.Profiles...)
	full.Cases = append([]Case{}, r.Cases...)
	if full.Counts == nil {
		full.Counts = Counts{}
	}
	for i := range full.Profiles {
		if full.Profiles[i].Counts == nil {
			full.Profiles[i].Counts = Counts{}
		}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(&full); err != nil {
		return fmt.Errorf("write report as JSON: %w", err)
	}
	_, err := w.Write(text.Bytes())
	return err
}

// ReadJSON reads what WriteJSON wrote, up to the end of the reader. It skips
// fields it does not know, since a later version may have added them. It refuses
// what is not a report: other JSON, more than [MaxJSON] bytes, a newer [Schema],
// and verdicts or conclusions this version does not have. It checks neither the
// counts nor the conclusion against the cases. An error says what to do; one of
// the reader is wrapped.
func ReadJSON(r io.Reader) (*Report, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxJSON+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read report: %w", err)
	case len(text) > MaxJSON:
		return nil, fmt.Errorf("the input has more than %d MiB: pass a file that omstck wrote, or let the cases log less", MaxJSON>>20)
	}
	// The schema comes first: a newer one may not fit into the types.
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("the input is no report, pass a file that omstck wrote: %w", err)
	}
	switch {
	case head.Schema > Schema:
		return nil, fmt.Errorf("the report has schema %d, this program knows %d: use the omstck that wrote it, or a newer one", head.Schema, Schema)
	case head.Schema < 1:
		return nil, errors.New("the input is no report, since it has no schema number: pass a file that omstck wrote")
	}
	rep := new(Report)
	if err := json.Unmarshal(text, rep); err != nil {
		return nil, fmt.Errorf("the report does not fit schema %d, write it anew: %w", Schema, err)
	}
	if err := rep.checkWords(); err != nil {
		return nil, err
	}
	return rep, nil
}

// checkWords refuses verdicts and conclusions that do not exist.
func (r *Report) checkWords() error {
	for _, c := range r.Cases {
		if !slices.Contains(Verdicts, c.Verdict) {
			return fmt.Errorf("case %.40q has the unknown verdict %.40q: use the omstck that wrote the report, or correct it to one of %q", c.ID, c.Verdict, Verdicts)
		}
	}
	if err := checkGroup("the report", r.Conclusion, r.Counts); err != nil {
		return err
	}
	for _, p := range r.Profiles {
		if err := checkGroup(fmt.Sprintf("profile %.40q", p.Name), p.Conclusion, p.Counts); err != nil {
			return err
		}
	}
	return nil
}

func checkGroup(who string, conclusion Conclusion, counts Counts) error {
	if !slices.Contains(conclusions, conclusion) {
		return fmt.Errorf("%s has the unknown conclusion %.40q: use the omstck that wrote it, or correct it to one of %q", who, conclusion, conclusions)
	}
	for v, n := range counts {
		if n < 0 {
			return fmt.Errorf("%s counts %d of the verdict %.40q: write it anew", who, n, v)
		}
		if !slices.Contains(Verdicts, v) {
			return fmt.Errorf("%s has %d of the unknown verdict %.40q: use the omstck that wrote it, or correct it to one of %q", who, n, v, Verdicts)
		}
	}
	return nil
}

var conclusions = []Conclusion{Conformant, Partial, NotConformant, Broken, Undeclared}
