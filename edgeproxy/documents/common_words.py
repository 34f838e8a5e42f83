"""Words that say little, in the languages that people write most: their standing proves nothing.

Words of grammar, and those with which a model leads to what it says ("according to the document").
A person's index knows better which words are frequent in it; these hold where there is none.
"""

from __future__ import annotations

from edgeproxy.text.words import words

_WORDS = {
    "en": "again often still thus today well"
    " a about above according after all also am an and another answer any are as at be"
    " because been before being below both but by can context could did do document"
    " documents does don each either file following for from given had has have he her"
    " here him his how however i if in information into is it its itself just know ll may"
    " me mentioned might more most much must my no nor not of on only or other our over"
    " passage passages please provided question re s same say says she should so some"
    " source sources stated states such sure t than that the their them then there these"
    " they this those through to too under up ve very was we were what when where which"
    " while who whom whose why will with would yes you your called named known uses used",
    "de": "aber als alle alles am an auch auf aus bei bin bis da dann das dass dein dem den der"
    " des die dies diese dieser dieses doch dokument dokumente dort du durch ein eine"
    " einem einen einer eines er es etwa frage für gegen gibt haben hat hatte hier ich ihm"
    " ihn ihr ihre im in ist ja jede jeder kann können laut man mehr mein mit nach nein"
    " nicht noch nur ob oder quelle sehr sein seine seit sich sie sind so sowie über um"
    " und unter von vor war waren was wenn wer wie wird wo wurde wurden zu zum zur"
    " zwischen beträgt heißt liegt antwort steht",
    "fr": "à au aux avec avoir c ce cela ces cet cette comme contre d dans de des document"
    " documents donc du elle elles en entre est et être eu fait il ils je jusqu l la le"
    " les leur leurs lors lui m mais me même n ne non nous on ont ou où oui par pas plus"
    " pour qu que quel quelle question qui réponse s sa sans se selon ses si son sont"
    " source sous sur t te tout tous très un une va vous y était appelle compte sert",
    "es": "a al algo como con contra cual cuando de del desde donde documento documentos dos e"
    " el ella ellos en entre era es esa ese eso esta está este esto fue ha hace hacia han"
    " hasta hay la las le les lo los más me mi muy no nos o otra otro para pero por porque"
    " pregunta que qué quien respuesta se según ser sí sin sobre son su sus también te"
    " tiene un una uno y ya llama",
    "pt": "ao aos as até com como da das de do documento dos e é ela ele em entre era essa esse"
    " esta está este foi há isso isto já lhe mais mas na não nas no nos o os ou para pela"
    " pelo pergunta por porque quando que quem resposta são se segundo sem ser seu sua"
    " também tem um uma",
    "it": "a ad al alla alle anche che chi ci come con da dal dalla degli dei del della delle"
    " di documento dove e è ed era fu gli ha hanno i il in io la le lo loro ma nel nella"
    " no non o per perché più qual quale quando questa questo risposta secondo sei si sì"
    " sono su sua suo tra un una uno domanda chiama",
    "nl": "aan al als bij dan dat de deze die dit document door een en er geen had heeft het"
    " hij hun ik in is ja je kan maar meer met naar nee niet nog of om onder ook op over"
    " te tot uit van veel volgens voor waar was wat werd wie wij wordt zal ze zich zij"
    " zijn zo",
    "ru": "а без более бы был была были было быть в вам вас во вопрос вот все всего вы где да"
    " для до документ документа документах документе его ее ей если есть еще же за и из"
    " или им имеет их к как когда который которая которые кто ли меня мне может мы на над"
    " не него нет но о об он она они от ответ очень по под при с свой себя со согласно"
    " составляет так также там то того только том тот у уже что чтобы эта эти это этого"
    " этой этом этот я является называется",
    "ar": "في من على إلى عن أن إن هو هي هذا هذه ذلك تلك التي الذي التي كان كانت مع لا ما لم لن"
    " قد و أو ثم كل بعد قبل بين عند حتى وهو وهي كما لها له بها به منها منه نعم السؤال"
    " الوثيقة الجواب يبلغ تبلغ هناك تقع يقع",
    "hi": "का की के को में से है हैं था थी थे और या पर यह वह ये वे कि जो ने एक नहीं हाँ भी तो"
    " ही लिए साथ इस उस कुछ अपने द्वारा होता होती दस्तावेज़ अनुसार प्रश्न उत्तर गया गई कहा"
    " जाता",
    "ko": "은 는 이 가 을 를 의 에 에서 와 과 도 로 으로 그 저 것 수 있다 있습니다 없다 없습니다"
    " 입니다 합니다 그리고 또는 네 예 아니요 문서 문서에"
    " 질문 답변",
    "tr": "bir bu da de değil en ile için mı mi ve veya çok daha gibi kadar olan olarak ne o şu"
    " var yok evet hayır göre belge",
    "pl": "a ale ani był była było być co czy dla do go i ich jak jako jest już lub ma na nie o"
    " od oraz po pod przez się są ta tak tam te ten to tym w we według z za ze że",
    "uk": "а або але в від він вона вони все де для до з за і із її їх й на не ні про та так"
    " також то у це цей ця чи що як є",
}

COMMON = frozenset(word for said in _WORDS.values() for word in words(said))
"""The words, as `words` writes them."""

GERMAN = frozenset(words(_WORDS["de"])) - frozenset(
    word for language in ("en", "fr", "es", "pt", "it", "nl") for word in words(_WORDS[language])
)
"""Common words of German that hardly any other language has: it writes nouns with capitals."""

COMMON_SIGNS = frozenset(
    "的是在了和有与與及为為也就于于而之这這那个個被把从從到其并並但或你我他她它们們吗嗎呢吧"
)
"""Chinese characters of grammar; a pair of characters with one of them is no evidence."""
