package control

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/faults"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestCatalog holds that the catalogue, the metrics and the health are what the API
// says that they are.
func TestCatalog(t *testing.T) {
	h, _, _ := server(t)
	send(t, h, "PUT", "/v1/experiments/slow", `{"fault":"delay:by=50ms","target":{"to":":1"}}`)
	_, body := send(t, h, "GET", "/v1/faults", "")
	var list struct{ Faults []faults.Listing }
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Faults) != len(faults.Catalog) || list.Faults[0].Cause != faults.Catalog[0].Cause || len(list.Faults[0].Knobs) == 0 {
		t.Errorf("%v: %.500s", err, body)
	}
	if _, body := send(t, h, "GET", "/metrics", ""); !strings.Contains(body, `faultctl_packets_diverted_total{experiment="slow"} 9`) {
		t.Errorf("%s", body)
	}
	if status, body := send(t, h, "GET", "/healthz", ""); status != 200 || !strings.Contains(body, `"ok"`) {
		t.Errorf("%d: %s", status, body)
	}
}

// TestOpenAPISchema holds that the document has the schema of a run, and that this
// schema accepts and refuses what PUT does.
func TestOpenAPISchema(t *testing.T) {
	text, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem://openapi.json", document); err != nil {
		t.Fatal(err)
	}
	compiled := func(at string) *jsonschema.Schema {
		s, err := c.Compile("mem://openapi.json#" + at)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	put := compiled("/paths/~1v1~1experiments~1{name}/put/requestBody/content/application~1json/schema")
	patch := compiled("/paths/~1v1~1experiments~1{name}/patch/requestBody/content/application~1json/schema")
	h, _, _ := server(t)
	for body, right := range map[string]bool{
		`{"fault":"delay:by=50ms","target":{"to":":5432","percent":20}}`:   true,
		`{"fault":{"reset":{"at":"request=2"}},"target":{"to":[":5432"]}}`: true,
		`{"fault":"reset","duration":"5s","target":{"to":":1"}}`:           true,
		`{"target":{"to":":5432"}}`:                                        false,
		`{"fault":"reset","target":{"too":":5432"}}`:                       false,
		`{"fault":{"rset":{}}}`:                                            false,
		`{"fault":"reset","duration":5}`:                                   false,
		`{"fault":"reset","target":{"percent":101}}`:                       false,
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		status, answer := send(t, h, "PUT", "/v1/experiments/x", body)
		if err := put.Validate(v); (err == nil) != right || (status < 300) != right {
			t.Errorf("%s: the schema says %v, and PUT %d: %s", body, err, status, answer)
		}
		if _, whole := v.(map[string]any)["fault"]; whole {
			continue
		}
		if err := patch.Validate(v); err != nil {
			t.Errorf("as a change: %s: %v", body, err)
		}
	}
	if patch.Validate(map[string]any{"target": map[string]any{"percnt": 3}}) == nil {
		t.Error("a word that there is not may be changed")
	}
	if schema := experiment.Schema(); schema["$schema"] == nil { // it is a fresh one each time
		t.Error("the schema of files has changed")
	}
}
